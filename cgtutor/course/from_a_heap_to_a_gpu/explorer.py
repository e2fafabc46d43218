"""The explorers of the notebook *from a heap to a gpu*."""

import ipywidgets

from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.figures import bars
from cgtutor.course.shared.speed import words
from cgtutor.course.shared.style import Picture


def words_explorer() -> Explorer:
    """Words moved in a step by the two ways to an aggregate, by ``topC`` and by what happens."""

    def draw(topC: int, inserting: bool, update: int) -> Picture:
        happens = "gradient inserted" if inserting else "gradient rejected"
        return bars(
            {f"topC = {topC}, {happens}": words(topC, inserting, update)},
            "words moved for each parameter of the model",
            {f"torch's update alone: {update}": update},
            longest=55,
        )

    return Explorer(
        draw,
        {
            "topC": ipywidgets.IntSlider(20, 1, 40, description="topC", continuous_update=False),
            "inserting": ipywidgets.Checkbox(True, description="gradient inserted"),
            "update": ipywidgets.Dropdown(
                options=[("SGD", 3), ("RMSprop", 5), ("Adam", 7)], value=7, description="update"
            ),
        },
        goal="find the smallest topC for which the running sum moves fewer words, "
        "once if the gradient is inserted and once if it is rejected.",
    )
