"""GeoJSON (RFC 7946) in pixels of the image, as QuPath has it: x to the right, y down, holes as further rings."""

from __future__ import annotations

import json

from data.writing.writer import AnnotatedImage, Writer, hexadecimal, points


class GeoJsonWriter(Writer):
    """`NAME.geojson` for each image, with a feature for each region or object.

    QuPath reads `classification`; `class` and `color` are for programs that show flat properties alone, such as QGIS.
    """

    def add(self, image: AnnotatedImage) -> None:
        colors = {label.id: list(label.color) for label in self.labels}
        features = []
        for regions in image.objects():
            name, color = self.names[regions[0].class_id], colors[regions[0].class_id]
            properties = {
                "objectType": "annotation",
                "classification": {"name": name, "color": color},
                "class": name,
                "color": hexadecimal(color),
            }
            polygons = [[points(ring) for ring in region.rings()] for region in regions]
            kind, coordinates = ("Polygon", polygons[0]) if len(polygons) == 1 else ("MultiPolygon", polygons)
            geometry = {"type": kind, "coordinates": coordinates}
            features.append(json.dumps({"type": "Feature", "properties": properties, "geometry": geometry}))
        content = ",\n".join(features)
        self.write_file(f"{image.result}.geojson", f'{{"type": "FeatureCollection", "features": [\n{content}\n]}}\n')
