"""What the command line asks a function for."""

import pytest

from infotorch.bounds import Experiment
from infotorch.errors import ConfigError


def test_there_is_one_learner():
    def learner(*_):
        return None

    assert Experiment(labels=[0, 1], train_fn=learner).ensemble is None
    with pytest.raises(ConfigError, match="there must be train_fn or ensemble; got neither"):
        Experiment(labels=[0, 1])
    with pytest.raises(ConfigError, match="there must be train_fn or ensemble; got both"):
        Experiment(labels=[0, 1], train_fn=learner, ensemble=learner)
