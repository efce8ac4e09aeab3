import json

from data.decoding.notes import Notes, collecting, note


def test_notes_of_several_inputs_add_up():
    total = Notes()
    for name in ("b.png", "a.png"):
        with collecting(name) as noted:
            note("seen")
            note("seen")  # Counted once for each input.
        total.add(noted)
    note("outside")
    assert total == Notes({"seen": 2}, {"seen": "a.png"})
    assert Notes.from_json(json.loads(json.dumps(total.to_json()))) == total


def test_what_is_noted_of_a_mask_names_the_mask():
    with collecting("images/a.jpg", "masks/a.png") as noted:
        note("mask: 0 and 255 alone")
        note("image_type uint8")
    assert noted.first == {"mask: 0 and 255 alone": "masks/a.png", "image_type uint8": "images/a.jpg"}
