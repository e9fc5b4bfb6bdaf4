"""Runs the MNIST trainings that have no line yet, writes docs/limit-results.md, and checks what the figures must be.

python -m benchmarks.limit [--check], of which --check runs nothing. Fails where a figure isn't what it must be.
"""

import argparse

import torch

from benchmarks.limit import mnist, page
from benchmarks.limit.acceptance import demands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="run nothing")
    if not parser.parse_args().check:
        torch.set_num_threads(1)
        mnist.run_missing()
    page.PAGE.write_text(page.text())
    found = list(demands())
    for demand in found:
        print(f"{'pass' if demand.holds else 'FAIL'}  {demand.text}: {demand.found}, must be {demand.limit}")
    if not all(demand.holds for demand in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
