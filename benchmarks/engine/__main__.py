"""Races all workloads on all networks and appends a line each to benchmarks/results.

python -m benchmarks.engine [--nets mlp,cnn] [--workloads norms,gram] [--dry]
"""

import argparse

import torch

from benchmarks.engine import RESULTS
from benchmarks.engine.nets import NETS, build
from benchmarks.engine.race import OURS, PEERS, PLAIN, Race, library, race, versions
from benchmarks.engine.workloads import WORKLOADS, problem_for
from benchmarks.record import append


def _row(net: str, workload: str, result: Race) -> str:
    plain = result.seconds[PLAIN]
    ratios = {name: seconds / plain for name, seconds in result.seconds.items() if name != PLAIN}
    ours = f"{ratios.pop(OURS):.2f}" if OURS in ratios else "-"
    others = "  ".join(f"{name} {ratio:.2f}" for name, ratio in sorted(ratios.items(), key=lambda item: item[1]))
    wrong = "".join(f"  {name} WRONG {error:.0e}" for name, error in result.wrong.items())
    unable = "".join(f"  {name}: {text}" for name, text in result.unable.items() if name == OURS)
    return f"{net:9} {workload:11} {1e3 * plain:8.1f} ms  ours {ours:>6} | {others}{wrong}{unable}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--dry", action="store_true", help="write no lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    modules = {rival: library(rival) for rival in PEERS}
    if absent := [PEERS[rival] for rival, module in modules.items() if module is None]:
        print(f"not installed, so not raced: {', '.join(absent)}. Run: make bench-engine")
    rivals = [module for module in modules.values() if module is not None]
    for net in options.nets.split(","):
        for key in options.workloads.split(","):
            workload = WORKLOADS[key]
            problem = problem_for(workload, build(net))
            if problem is None:
                continue
            result = race(key, workload, problem, rivals)
            print(_row(net, key, result), flush=True)
            if not options.dry:
                case = {"net": net, "workload": key, "N": problem.N}
                append(RESULTS, "engine", case, result.record | {"peers": versions()})


if __name__ == "__main__":
    main()
