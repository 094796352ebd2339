"""Figures as files: PNG for the page, PDF or SVG beside it, GIF for animations.

The only place that saves the figures of a report.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FuncAnimation
from matplotlib.figure import Figure
from PIL import Image

from sicjax.plots.style import COLOURS, FAINT, INK, UNVISITED, as_picture, last_picture

DPI, MOTION_DPI = 120, 80
PNG_LEVEL = 7  # compression level: 9 takes four times as long and saves 2 %
PALETTE = 128  # colours in the palette that all frames of an animation share


@dataclass(frozen=True)
class Motion:
    """An animation, and a still picture in its place."""

    gif: bytes
    png: bytes


def paint(figure: Figure) -> Image.Image:
    """Draw a figure."""
    raw = io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=DPI, facecolor="white")
    width, height = (int(inches * DPI) for inches in figure.get_size_inches())
    return Image.frombytes("RGBA", (width, height), raw.getvalue()).convert("RGB")


def pack(picture: Image.Image, few_colours: bool = False) -> bytes:
    """Return a picture as a PNG file; 256 colours halve a sheet of maps."""
    if few_colours:
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=PNG_LEVEL)
    return packed.getvalue()


def vector(figure: Figure, kind: str) -> bytes:
    """Return a figure as a PDF or SVG file, without a date, so equal figures give equal files."""
    file = io.BytesIO()
    date = "CreationDate" if kind == "pdf" else "Date"
    figure.savefig(file, format=kind, dpi=2 * DPI, facecolor="white", metadata={date: None})
    return file.getvalue()


def film(animation: FuncAnimation, *, frame_ms: int, held_ms: int) -> Motion:
    """Draw every frame of an animation, with a palette of its own, so the file is small.

    Args:
        animation: the animation.
        frame_ms: how long a frame is shown.
        held_ms: how long the last frame is shown.
    """
    writer = _Frames(fps=10)
    animation.save("frames", writer=writer, dpi=MOTION_DPI)
    pictures = [Image.fromarray(frame) for frame in writer.frames]
    # About six frames, at half their size, are enough to make the palette.
    every = max(len(pictures) // 6, 1)
    sample = np.concatenate([frame[::2, ::2] for frame in writer.frames[::-every]])
    palette = _palette(Image.fromarray(sample))
    frames = [_quantised(picture, palette) for picture in pictures]
    gif, png = io.BytesIO(), io.BytesIO()
    frames[0].save(
        gif, "GIF", save_all=True, append_images=frames[1:], loop=0, optimize=True,
        duration=[*[frame_ms] * (len(frames) - 1), held_ms],
    )  # fmt: skip
    pictures[-1].save(png, "PNG", compress_level=PNG_LEVEL)
    return Motion(gif.getvalue(), png.getvalue())


def _palette(sample: Image.Image) -> Image.Image:
    """Return an image whose palette has the sample's main colours, and those of small marks."""
    found = sample.quantize(PALETTE, dither=Image.Dither.NONE).getpalette() or []
    marks = [
        int(name[k : k + 2], 16)
        for name in ("#ffffff", INK, FAINT, UNVISITED, *COLOURS)
        for k in (1, 3, 5)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*marks, *found[: 3 * PALETTE]])
    return palette


def _quantised(picture: Image.Image, palette: Image.Image) -> Image.Image:
    """Return a picture in the colours of a palette; white, its first colour, stays white."""
    frame = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    white = (np.asarray(picture) == 255).all(axis=-1)
    frame.paste(0, mask=Image.fromarray(white))
    return frame


class _Frames(AbstractMovieWriter):
    """Keeps frames [height, width, 3] in memory, because a shared palette needs all of them."""

    def setup(self, fig: Figure, outfile: Any, dpi: float | None = None) -> None:
        """Begin; nothing is written to a file."""
        self.fig, self.outfile, self.dpi = fig, outfile, dpi or MOTION_DPI
        self.frames: list[np.ndarray] = []
        as_picture(fig, dpi=self.dpi)  # from here on the animation draws into this picture

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        """Keep one frame."""
        self.frames.append(last_picture(self.fig))

    def finish(self) -> None:
        """End."""
