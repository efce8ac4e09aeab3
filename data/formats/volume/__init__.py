"""How are images with a third dimension read? Files of volumes, their slices, and what lies where in the body."""
