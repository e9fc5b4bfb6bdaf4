"""Calls of limit that it refuses, and what it says of each."""

import torch

from infotorch.ops import LimitNoise

Z, V, Y = torch.zeros(32, 10), torch.ones(32, 10), torch.zeros(32, dtype=torch.int64)
SOFT = torch.full((32, 10), 0.1)


def put(x, place, value):
    x = x.clone()
    x[place] = value
    return x


KEY = LimitNoise(seed=0, step=0, ids=torch.arange(32))
REFUSALS = {
    "two shapes": (
        (Z, V[:, :9], Y),
        {},
        "logits and aux_logits must have one shape; got [32, 10] and [32, 9]. "
        "Give the auxiliary network the classifier's number of outputs.",
    ),
    "a label too large": (
        (Z, V, put(Y, 4, 10)),
        {},
        "labels must lie in 0..9 or equal ignore_index=-100; got 10 at row 4. Check the label map.",
    ),
    "a label below zero": (
        (Z, V, put(Y, 5, -1)),
        {},
        "labels must lie in 0..9 or equal ignore_index=-100; got -1 at row 5.",
    ),
    "another ignore_index": (
        (Z, V, put(Y, 5, -100)),
        {"ignore_index": 255},
        "labels must lie in 0..9 or equal ignore_index=255; got -100 at row 5.",
    ),
    "a label of a single logit": (
        (Z[:, 0], V[:, 0], put(Y, 1, 2)),
        {},
        "labels must lie in 0..1 or equal ignore_index=-100; got 2",
    ),
    "probabilities that sum to more": (
        (Z, V, put(SOFT, (3, 2), 0.3)),
        {},
        "probabilities in target must sum to 1 within 1e-4; got 1.2 at row 3. Divide every row by its sum.",
    ),
    "negative probabilities": (
        (Z, V, put(SOFT, (3, 2), -0.1)),
        {},
        "probabilities in target must not be negative; got -0.1 at row 3. Pass what softmax gives.",
    ),
    "probabilities of a single logit": (
        (Z[:, 0], V[:, 0], put(SOFT[:, 0], 2, 1.5)),
        {},
        "a target of a single logit must lie in [0, 1]; got 1.5 at row 2. It is the probability of the positive class.",
    ),
    "labels as floats": (
        (Z, V, Y.float()),
        {},
        "a target that isn't int64 must hold a probability for every logit; got [32] beside logits [32, 10]. "
        "Convert labels with target.long().",
    ),
    "labels of 32 bits": (
        (Z, V, Y.int()),
        {},
        "target must be int64 labels, or class probabilities of logits' dtype; got int32 beside float32. Convert with",
    ),
    "labels for others": (
        (Z, V, Y[:5]),
        {},
        "target must have a label for every row of logits; got [5] beside logits [32, 10]. Put the axis of classes",
    ),
    "no axis": (
        (Z[0, 0], V[0, 0], Y[0]),
        {},
        "logits must be [N], or [..., C] with the classes last; got a number. Add",
    ),
    "no class": ((Z[:, :0], V[:, :0], Y), {}, "logits must have a class; got [32, 0]. Put the axis of classes last."),
    "q": (
        (Z, V, Y),
        {"q": "cauchy"},
        "q must be 'gaussian', 'laplace' or 'ce'; got 'cauchy'. Leave it out for 'gaussian'.",
    ),
    "beta": ((Z, V, Y), {"beta": -0.5}, "beta must be a number from 0 on; got -0.5. It weighs the squared norm"),
    "infinite beta": ((Z, V, Y), {"beta": float("inf")}, "beta must be a number from 0 on; got inf."),
    "lam": (
        (Z, V, Y),
        {"lam": 0.0, "noise": KEY},
        "lam must be a number above 0; got 0. Leave it out for the mean variant.",
    ),
    "lam of cross-entropy": (
        (Z, V, Y),
        {"lam": 1.0, "q": "ce"},
        "lam is for q='gaussian' or 'laplace'; got q='ce'. Leave lam",
    ),
    "noise alone": (
        (Z, V, Y),
        {"noise": KEY},
        "noise needs lam, its precision; got noise without lam. Pass lam too, or neither.",
    ),
    "ids for others": (
        (Z[:5], V[:5], Y[:5]),
        {"lam": 1.0, "noise": KEY},
        "the noise's ids must be int64, one for every sample of logits; got int64 [32] beside logits [5, 10]. Pass",
    ),
    "ids of positions": (
        (Z.view(8, 4, 10), V.view(8, 4, 10), Y.view(8, 4)),
        {"lam": 1.0, "noise": LimitNoise(seed=0, step=0, ids=KEY.ids[:8] - 1)},
        "ids of samples with several positions must lie in [0, 2^43); got -1 for sample 0. Number the samples from 0.",
    ),
    "smoothing": (
        (Z, V, Y),
        {"label_smoothing": 1.0},
        "label_smoothing must lie in [0, 1); got 1. Leave it out for none.",
    ),
    "weights of others": ((Z, V, Y), {"weight": torch.ones(9)}, "weight must be [10]; got [9]. Give every class one."),
    "a negative weight": (
        (Z, V, Y),
        {"weight": put(torch.ones(10), 3, -1.0)},
        "weight must be finite and not negative; got -1 for class 3. A class of weight 0 has no say.",
    ),
    "a weight of another dtype": (
        (Z, V, Y),
        {"weight": torch.ones(10, dtype=torch.float64)},
        "weight must be of logits' dtype; got float64 beside float32. Convert with .to(logits.dtype).",
    ),
    "weights of a single logit": (
        (Z[:, 0], V[:, 0], Y),
        {"weight": torch.ones(1)},
        "weight is for several classes; got a single logit. Pass pos_weight.",
    ),
    "pos_weight of classes": (
        (Z, V, Y),
        {"pos_weight": 2.0},
        "pos_weight is for a single logit; got 10 classes. Pass weight.",
    ),
    "a negative pos_weight": (
        (Z[:, 0], V[:, 0], Y),
        {"pos_weight": -2.0},
        "pos_weight must be finite and not negative; got -2.",
    ),
    "several pos_weights": (
        (Z[:, 0], V[:, 0], Y),
        {"pos_weight": torch.ones(2)},
        "pos_weight must be one number; got [2]. It weighs",
    ),
    "a mask of numbers": (
        (Z, V, Y),
        {"mask": torch.ones(32)},
        "mask must be bool, with a value for every row of logits; got float32 [32].",
    ),
    "a mask of others": (
        (Z, V, Y),
        {"mask": torch.ones(31, dtype=torch.bool)},
        "mask must be bool, with a value for every row of logits; got bool [31].",
    ),
    "one tensor": (
        (Z, Z, Y),
        {},
        "aux_logits must come from another network than logits; got tensors that share memory. "
        "The predicted gradient would be zero; build a separate auxiliary network.",
    ),
    "a view of it": (
        (Z, Z.view(32, 10), Y),
        {},
        "aux_logits must come from another network than logits; got tensors that share",
    ),
}

WRONG_KINDS = {
    "integers": (
        (Z.long(), V, Y),
        "logits must be float64, float32, bfloat16 or float16; got int64. Convert with logits.to(",
    ),
    "complex numbers": ((Z, V.cfloat(), Y), "aux_logits must be float64, float32, bfloat16 or float16; got complex64."),
    "two dtypes": (
        (Z, V.double(), Y),
        "logits and aux_logits must have one dtype; got float32 and float64. Convert one with .to(logits.dtype).",
    ),
    "two devices": (
        (Z, V.to("meta"), Y),
        "all tensors must be on one device; got cpu and meta. Move one with .to(logits.device).",
    ),
    "labels elsewhere": ((Z, V, Y.to("meta")), "all tensors must be on one device; got cpu and meta."),
}
