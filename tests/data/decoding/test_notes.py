import json

from data.decoding.notes import Notes, collecting, note, note_range


def test_notes_of_several_inputs_add_up():
    total = Notes()
    for name, high in (("b.png", 9), ("a.png", 3)):
        with collecting(name) as noted:
            note("seen")
            note("seen")  # Counted once for each input.
            note_range("values", 1, high)
        total.add(noted)
    note("outside")
    assert total == Notes({"seen": 2}, {"seen": "a.png"}, {"values": (1, 9)})
    assert Notes.from_json(json.loads(json.dumps(total.to_json()))) == total


def test_what_is_noted_of_a_mask_names_the_mask():
    with collecting("images/a.jpg", "masks/a.png") as noted:
        note("mask: 0 and 255 alone")
        note("images_of_8_bits")
    assert noted.first == {"mask: 0 and 255 alone": "masks/a.png", "images_of_8_bits": "images/a.jpg"}
