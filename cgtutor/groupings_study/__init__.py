"""One model, three tasks, four groupings: what the notebook on groupings measures."""

from cgtutor.groupings_study.recording import (
    Recording,
    labels,
    places,
    record,
    replay,
    stack,
)
from cgtutor.groupings_study.runs import (
    STRATEGIES,
    Difference,
    Results,
    Run,
    Strategy,
    best_runs,
    difference,
    step_times,
    sweep,
    table,
    train,
)
from cgtutor.groupings_study.scenes import (
    TASKS,
    SceneData,
    SceneNet,
    Scenes,
    scene_net,
    scenes,
)

__all__ = [
    "STRATEGIES",
    "TASKS",
    "Difference",
    "Recording",
    "Results",
    "Run",
    "SceneData",
    "SceneNet",
    "Scenes",
    "Strategy",
    "best_runs",
    "difference",
    "labels",
    "places",
    "record",
    "replay",
    "scene_net",
    "scenes",
    "stack",
    "step_times",
    "sweep",
    "table",
    "train",
]
