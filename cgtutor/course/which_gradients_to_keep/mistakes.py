"""Mistakes that are often made in the exercises, as edits of right answers."""

from cgtutor.course.shared.check import edited
from cgtutor.course.which_gradients_to_keep import stages

#: By what to say of them, mistakes that are often made: what stands in place of which part.
INSERT_MISTAKES: dict[str, dict[str, str]] = {
    "nothing is kept. With fewer than topC pairs the memory inserts every gradient.": {
        "memory.append((norm, gradient))": "pass"
    },
    "the last topC are kept, as in a queue. A full memory inserts a gradient only if its norm is "
    "larger than the smallest priority.": {
        "norm > memory[place][0]": "True",
        "key=lambda i: memory[i][0]": "key=lambda i: 0",
    },
    "the oldest is evicted, whatever its priority. The one with the smallest priority has to go.": {
        "key=lambda i: memory[i][0]": "key=lambda i: 0"
    },
    "a full memory inserts every gradient. It inserts one only if its norm is larger than the "
    "smallest priority.": {"norm > memory[place][0]": "True"},
    "the one with the largest priority is evicted. It is the smallest that has to make room.": {
        "place = min": "place = max",
        "norm > memory[place][0]": "norm > min(p for p, _ in memory)",
    },
    "the norm is compared with the largest priority. It only has to be larger than the smallest.": {
        "norm > memory[place][0]": "norm > max(p for p, _ in memory)"
    },
    "the comparison is the wrong way round: smaller gradients are inserted.": {
        "norm > memory": "norm < memory"
    },
    "the memory has more than topC pairs. When it is full, it has to evict one.": {
        "len(memory) < topC": "True"
    },
    "once full, the memory never changes. A gradient larger than the smallest priority takes its "
    "place.": {"norm > memory[place][0]": "False"},
    "a norm that merely equals the smallest priority is inserted. It has to be larger: > and not "
    ">=.": {"norm > memory": "norm >= memory"},
    "of two equal priorities the newest is evicted. The oldest has to go: min finds the first of "
    "equals, so keep the pairs in the order in which they came.": {
        "min(range(topC), key": "min(reversed(range(topC)), key"
    },
    "of two equal priorities it is not always the oldest that is evicted. A new pair in the place "
    "of the evicted one upsets the order: delete that one, and append the new pair.": {
        "del memory[place]": "memory[place] = (norm, gradient)",
        "memory.append((norm, gradient))  # at the end": "pass",
    },
    "topC is taken for 2. It is an argument.": {
        "len(memory) < topC": "len(memory) < 2",
        "range(topC)": "range(2)",
    },
}

REMEMBER_MISTAKES: dict[str, dict[str, str]] = {
    "nothing is kept. A positive, finite norm has to be handed to insert.": {
        "0 < norm < math.inf": "False"
    },
    "priorities decay before you insert, so that of the new gradient does not decay in its own "
    "step. First insert, then let all decay.": {
        "    if 0": "    memory = decayed(memory, decay)\n    if 0",
        "return decayed(memory, decay)": "return memory",
    },
    "no priority decays. Call decayed at the end, even if nothing was inserted.": {
        "return decayed(memory, decay)": "return memory"
    },
    "priorities do not decay where the norm is zero, NaN or infinite. They decay in every step.": {
        "return decayed(memory, decay)": "return decayed(memory, decay if 0 < norm < math.inf "
        "else 1)"
    },
    "norms that are NaN, infinite or zero are inserted.": {"0 < norm < math.inf": "True"},
    "a NaN is inserted as long as there is room. Every comparison with NaN is false; so ask for "
    "what you want, 0 < norm < math.inf.": {
        "0 < norm < math.inf": "not (norm == 0 or norm == math.inf)"
    },
    "an infinite norm is inserted, and would stay for ever.": {"0 < norm < math.inf": "norm > 0"},
    "a norm of zero is inserted as long as there is room. It has nothing to say, and fills a "
    "slot.": {"0 < norm < math.inf": "math.isfinite(norm)"},
    "NaN and zero are inserted as long as there is room.": {
        "0 < norm < math.inf": "norm != math.inf"
    },
    "NaN and infinity are inserted.": {"0 < norm < math.inf": "norm != 0"},
    "infinity and zero are inserted.": {"0 < norm < math.inf": "norm == norm"},
    "topC is taken for 2. It is an argument.": {".clone(), topC": ".clone(), 2"},
    "decay is taken for 0.5. It is an argument.": {"(memory, decay)": "(memory, 0.5)"},
}

#: By what to say of them, the wrong answers themselves.
INSERTS = {message: edited(stages.insert, edits) for message, edits in INSERT_MISTAKES.items()}
REMEMBERS = {
    message: edited(stages.remember, edits) for message, edits in REMEMBER_MISTAKES.items()
}
