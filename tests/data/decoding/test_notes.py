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
