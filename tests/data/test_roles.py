"""Names of columns and keys."""

from infotorch.data.roles import ROLES


def test_a_name_stands_for_one_field():
    names = [name for names in ROLES.values() for name in names]
    assert len(set(names)) == len(names)
