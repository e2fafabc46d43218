"""Cells that are the same in every notebook; ``regenerate.py`` writes them where their tag is."""

from cgtutor.course import markdown_map

SET_UP = """\
# @title Set-up: installs what is missing, as in Colab. Prints nothing if all is there.
import importlib.util
import subprocess
import sys
from pathlib import Path

clone = (Path("..") / "cgtutor" / "__init__.py").exists()  # not installed, but at hand
needed = {
    "cgtutor": ".." if clone else "cgtutor @ git+https://github.com/cgtutor/cgtutor",
    "ipywidgets": "ipywidgets",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",
}
found = {module: importlib.util.find_spec(module) for module in needed}
# A mere folder of the right name is found too, but without an origin.
missing = [needed[module] for module in needed if not getattr(found[module], "origin", None)]
if missing:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)
    importlib.invalidate_caches()"""

MEMORY = """\
<details><summary><b>The memory in 60 seconds</b> (open it if you start here)</summary>

A *critical-gradient optimizer* (`SGD_C`, `RMSprop_C`, `Adam_C`, `AdamW_C`) has a **memory** for
up to `topC` past gradients. In every step, with the new gradient $g$:

1. **Priority.** $g$ gets a number, its priority: its norm. By default this is the sum of the
   norms of all parameter tensors in the group.
2. **Aggregate.** The optimizer mixes $g$ with the gradients $M$ that the memory holds so far.
   `sum` is $g + \\kappa \\cdot \\mathrm{mean}(M)$, `mid` is half of that, and `mean` is the
   average of $g$ and all of $M$, where $\\kappa$ multiplies those of $M$. With an empty memory it
   is $g$.
3. **Insert or reject.** A memory with a free slot inserts $g$. A full one inserts $g$ only if its
   priority is larger than the smallest one in the memory, and evicts the gradient that has the
   smallest. Otherwise it rejects $g$. A priority that is zero, infinite or NaN is always
   rejected.
4. **Decay.** Every priority is multiplied by `decay`. The gradients themselves stay as they are.
5. **Base update.** SGD, RMSprop, Adam or AdamW does its usual update with the aggregate in place
   of $g$. With `kappa=0` nothing else happens.

Every term is in the [glossary](glossary.ipynb).

</details>"""

CHOOSING = """\
**The recommendation**

1. **Ask what a memory does:** gradients with large norms get more weight. Try one if they deserve
   it: rare cases that are right, or a worst case that matters. If they come from wrong labels or
   broken batches, clip.
2. **Tune the base optimizer first,** with as many trials as the memory will get.
3. **Then nine trials:** `aggr="sum"`, `topC=5`, `decay` 0.7, 0.9 and 0.99, each at the base's
   best learning rate, a third and a tenth. The weights go from nearly even to steep.
4. **Keep `topC` small.** Each slot is one more copy of the parameters, and equal
   `weight_evenness(topC, decay)` gives equal weights.
5. **Keep the memory only if it wins** on validation data, over several seeds."""

#: What a cell with this tag holds, whatever was in it.
BOXES = {
    "set-up": SET_UP,
    "memory-in-60-seconds": MEMORY,
    "course-map": markdown_map(),
    "how-to-choose": CHOOSING,
}
