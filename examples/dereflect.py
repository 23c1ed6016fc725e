"""Remove the reflections from a photo: ``python examples/dereflect.py``."""

from pathlib import Path

from PIL import Image

from derefl import load_derefl, save_picture

photo = sorted(Path(__file__).parent.glob("pictures/through_glass/*.*"))[0]
model = load_derefl()
clean = model.dereflect(Image.open(photo))
save_picture(clean, "clean.png", overwrite=True)
print(f"{photo.name} without reflections: clean.png")
