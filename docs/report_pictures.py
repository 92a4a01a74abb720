"""The pictures of docs/report_tour.md: `python docs/report_pictures.py releases/<release>/report/report.html [picture ...]`.

Each shows one section of the page, as a Chromium without a window draws it (`apt-get install chromium`).
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

# Picture: the section's id, the colour scheme, and of how many pixels from the top on.
PICTURES = {
    "report_verdict": ("verdict", "light", 900),
    "report_rules_dark": ("rules", "dark", 900),
    "report_languages": ("languages", "light", 900),
    "report_fairness": ("fairness", "light", 1300),
    "report_functional": ("functional", "light", 1900),
    "report_robustness": ("robustness", "light", 1250),
    "report_deployment": ("deployment", "light", 800),
    "report_calibration": ("calibration", "light", 560),
    "report_errors": ("errors", "light", 900),
    "report_missing": ("missing", "light", 600),
}
WIDTH = 1240


def section_alone(page: str, name: str) -> str:
    """The page with one section; the verdict keeps the figures that follow it."""
    begin = page.index('<section class="verdict' if name == "verdict" else f'<section aria-labelledby="{name}">')
    end = page.index('<section aria-labelledby="rules">') if name == "verdict" else page.index("</section>", begin)
    body = page[page.index("<main>") + len("<main>") : page.index("</main>")]
    alone = page.replace(body, page[begin:end])
    return re.sub(r"<nav.*?</nav>|<header>.*?</header>|<footer>.*?</footer>", "", alone, flags=re.DOTALL)


def picture(page: str, name: str, target: Path) -> None:
    """Draw a picture and cut off the empty paper below."""
    section, scheme, height = PICTURES[name]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "section.html"
        source.write_text(section_alone(page, section), encoding="utf-8")
        subprocess.run(
            [
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
                f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", f"--window-size={WIDTH},{height}",
                f"--screenshot={target}", source.as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    drawn = Image.open(target).convert("RGB")
    paper = Image.new("RGB", drawn.size, drawn.getpixel((2, drawn.height - 3)))
    box = ImageChops.difference(drawn, paper).getbbox()
    drawn.crop((0, 0, WIDTH, min(drawn.height, (box[3] if box else drawn.height) + 20))).quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    html = Path(sys.argv[1]).read_text(encoding="utf-8")
    for wanted in sys.argv[2:] or PICTURES:
        picture(html, wanted, Path(__file__).parent / "images" / f"{wanted}.png")
        print(Path(__file__).parent / "images" / f"{wanted}.png")
