"""All digits in a process of its own, what was found in FOLDER/found.pickle: python -m tests.demo.all_digits FOLDER."""

import pathlib
import pickle
import sys

from infotorch import demo

SHORT = {"BOUND_EPOCHS": 3, "WEIGHED_EPOCHS": 3, "NUM_SEEN": 8, "TEACHER_EPOCHS": 6}
"""Of trainings of a few epochs, where scores are what is looked at."""

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for name, few in SHORT.items():
        setattr(demo.chapters, name, few)
    demo.limit.EPOCHS = 3
    found = demo.run_all(folder / "demo")
    (folder / "found.pickle").write_bytes(pickle.dumps(found))
