"""What moves, as pictures to step through, without a kernel."""

import base64
import hashlib
import html
import io
import json
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import publish_display_data
from PIL import Image

from cgtutor.course.shared.style import Picture

#: How many bytes a player may take in a notebook.
MOST_BYTES = 600_000

#: Where the reader has asked for less motion, playing goes slowly and in steps.
_SCRIPT = """
(() => {
  const frames = %(frames)s, captions = %(captions)s;
  for (const player of document.querySelectorAll("#%(name)s:not([data-ready])")) {
    player.dataset.ready = "yes";
    const still = player.querySelector("img"), caption = player.querySelector("figcaption");
    const canvas = document.createElement("canvas"), brush = canvas.getContext("2d");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", still.alt);
    canvas.style.cssText = "width:100%%;max-width:100%%;height:auto;display:block";
    const loaded = (source) => {
      const image = new Image();
      image.src = source;
      return image.decode().then(() => image);
    };
    const base = loaded(still.src), overs = frames.map(() => null);
    base.then((image) => {
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      still.replaceWith(canvas);
      show(0);
    });
    const bar = document.createElement("div");
    bar.style.cssText = "display:flex;gap:6px;align-items:center;padding:4px 0";
    const button = (text, title) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.title = title;
      made.setAttribute("aria-label", title);
      made.style.cssText = "font:inherit;color:inherit;background:none;cursor:pointer;" +
        "border:1px solid currentColor;border-radius:4px;padding:2px 10px;min-width:2.6em";
      bar.append(made);
      return made;
    };
    const back = button("◀", "one step back"), play = button("▶ play", "play or pause");
    const on = button("▶", "one step on"), range = document.createElement("input");
    range.type = "range";
    range.min = 0;
    range.max = frames.length - 1;
    range.value = 0;
    range.setAttribute("aria-label", "step");
    range.style.cssText = "flex:1;min-width:4em";
    const count = document.createElement("span");
    bar.append(range, count);
    player.insertBefore(bar, caption);
    let timer = null;
    const at = () => Number(range.value);
    const show = (i) => {
      range.value = i;
      if (frames[i]) overs[i] ??= loaded(frames[i]);
      Promise.all([base, overs[i]]).then(([image, over]) => {
        if (i !== at()) return;
        brush.drawImage(image, 0, 0);
        if (over) brush.drawImage(over, 0, 0);
        player.dataset.drawn = i;
      });
      caption.textContent = captions[i];
      count.textContent = (i + 1) + " of " + frames.length;
      range.setAttribute("aria-valuetext", captions[i]);
      player.dataset.frame = i;
    };
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "▶ play";
    };
    const step = (by) => show(Math.min(frames.length - 1, Math.max(0, at() + by)));
    back.onclick = () => { stop(); step(-1); };
    on.onclick = () => { stop(); step(1); };
    range.oninput = () => { stop(); show(at()); };
    play.onclick = () => {
      if (timer) return stop();
      if (at() === frames.length - 1) show(0);
      play.textContent = "❚❚ pause";
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      timer = setInterval(() => {
        step(1);
        if (at() === frames.length - 1 || !player.isConnected) stop();
      }, calm ? 2000 : %(milliseconds)d);
    };
    player.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.target === range) return event.stopPropagation();
      event.preventDefault();
      event.stopPropagation();
      stop();
      step(by);
    };
  }
})();
"""


class Player:
    """Pictures to step through, made by :func:`player`."""

    def __init__(self, data: dict[str, str], count: int) -> None:
        self._data, self.count = data, count

    def __repr__(self) -> str:
        return f"Player({self.count} pictures)"

    @property
    def size(self) -> int:
        """Its bytes in a notebook."""
        return sum(len(part.encode()) for part in self._data.values())

    def _ipython_display_(self) -> None:
        publish_display_data(self._data)


def player(
    draw: Callable[[int], Picture],
    count: int,
    captions: Sequence[str],
    alt: str,
    still: int = -1,
    milliseconds: int = 500,
) -> Player:
    """Pictures that the reader plays, steps through or drags, with a caption for each.

    It needs no kernel. Where no script runs, the picture ``still`` is there with its caption. It
    never starts by itself. Of each picture only what differs from ``still`` is stored, so that
    dozens of them are small as long as their axes stay where they are.

    Args:
        draw: makes the picture of a step, from 0 on; all of one size.
        count: the number of steps.
        captions: a short sentence for each step.
        alt: what there is to see, in words, for the whole.
        still: the step that is shown without a script.
        milliseconds: from one picture to the next when it plays.

    Raises:
        ValueError: an argument does not fit the others, or the player is larger than
            :data:`MOST_BYTES`.
    """
    if len(captions) != count or count < 2:
        raise ValueError(
            f"captions: takes one for each of at least 2 steps, got {len(captions)} for {count}"
        )
    if not alt:
        raise ValueError(f"alt: a player needs alternative text, got {alt!r}")
    pictures = []
    with plt.ioff():
        for i in range(count):
            figure = draw(i)
            plt.close(figure)
            pictures.append(Image.open(io.BytesIO(figure.png(colours=None))).convert("RGB"))
    width = round(figure.get_figwidth() * 100)
    base, frames = _differences(pictures, still)
    caption = captions[still]
    name = "player-" + hashlib.sha256(f"{alt}{captions}".encode()).hexdigest()[:12]
    script = _SCRIPT % {
        "frames": json.dumps(frames),
        "captions": json.dumps(list(captions)),
        "name": name,
        "milliseconds": milliseconds,
    }
    shown = (
        f'<figure id="{name}" style="max-width:{width}px;margin:0" aria-label="player">'
        f'<div><img alt="{html.escape(alt)}" src="{base}" '
        f'style="width:100%;max-width:100%;display:block;margin:0"></div>'
        f'<figcaption aria-live="polite" style="min-height:3em">{html.escape(caption)}'
        f"</figcaption></figure><script>{script}</script>"
    )
    made = Player({"text/html": shown, "text/plain": f"{alt} {caption}"}, count)
    if made.size > MOST_BYTES:
        raise ValueError(
            f"count: a player takes at most {MOST_BYTES // 1000} kB, got {made.size // 1000} kB "
            f"with {count} steps; draw fewer, or move less of the picture"
        )
    return made


def _differences(pictures: Sequence[Image.Image], still: int) -> tuple[str, list[str]]:
    """The picture ``still``, and for each one to lay over it, transparent where both are equal."""
    # Colours of all pictures, since some are there for a moment only; every third pixel will do.
    width, height = (length // 3 for length in pictures[0].size)
    together = Image.new("RGB", (width, height * len(pictures)))
    for i, picture in enumerate(pictures):
        nearest = picture.resize((width, height), Image.Resampling.NEAREST)
        together.paste(nearest, (0, i * height))
    palette = together.quantize(126)
    colours = [*(palette.getpalette() or [])[: 3 * 126], *[255] * 3 * 128][: 3 * 128]
    white, transparent = 126, 127

    def reduced(picture: Image.Image) -> np.ndarray:
        indices = np.array(picture.quantize(palette=palette, dither=Image.Dither.NONE))
        indices[(np.asarray(picture) == 255).all(axis=-1)] = white  # and not nearly
        return indices

    def encoded(indices: np.ndarray, **settings: int) -> str:
        picture, packed = Image.fromarray(indices, "P"), io.BytesIO()
        picture.putpalette(colours)
        picture.save(packed, format="png", **settings)
        return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"

    base, frames = reduced(pictures[still]), []
    for picture in pictures:
        indices = reduced(picture)
        same = indices == base
        indices[same] = transparent
        frames.append("" if same.all() else encoded(indices, transparency=transparent))
    return encoded(base), frames
