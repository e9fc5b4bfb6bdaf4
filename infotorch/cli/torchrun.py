"""Processes that ``torchrun`` started, as one group."""

import atexit
import datetime
import os
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = datetime.timedelta(days=7)
"""That one process waits for another: shares of work differ by hours, and torchrun ends all when one dies."""


def process_group() -> Any:
    """The group of the processes that torchrun started together, till this one ends; None where it is alone."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return dist.group.WORLD
