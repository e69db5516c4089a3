"""Every entry of the registry is what its table says, and brings its settings with it."""

import pytest

from tusd_py import registry
from tusd_py.auth.base import Authenticator
from tusd_py.hooks.kinds import Hook
from tusd_py.settings import Settings
from tusd_py.state.base import StateStore
from tusd_py.stores.base import ByteStore

CONTRACTS: dict[str, type] = {
    "stores": ByteStore,
    "states": StateStore,
    "hooks": Hook,
    "authenticators": Authenticator,
}
ENTRIES = [
    pytest.param(family, target, id=f"{family} {name}")
    for family, table in registry.FAMILIES.items()
    for name, target in table.items()
]


@pytest.mark.parametrize(("family", "target"), ENTRIES)
def test_an_entry_keeps_the_contract_of_its_family(family: str, target: str) -> None:
    """It can be loaded by its name, and nothing abstract is left of it."""
    part = registry.load(target)
    assert issubclass(part, CONTRACTS[family])
    assert not part.__abstractmethods__


@pytest.mark.parametrize(("family", "target"), ENTRIES)
def test_an_entrys_settings_are_frozen_and_explained(family: str, target: str) -> None:
    """The generated file and the help are made of the models: each key has its sentence."""
    model = registry.settings_type(registry.load(target))
    assert issubclass(model, Settings)
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "forbid"
    unexplained = [k for k, one in model.model_fields.items() if not one.description]
    assert unexplained in ([], ["kind"])


def test_a_part_without_settings_is_a_fault_of_the_table() -> None:
    """Found by the test above, before anybody configures it."""

    class Part:
        def __init__(self, settings: int) -> None:
            """Takes something else."""

    with pytest.raises(TypeError, match="settings"):
        registry.settings_type(Part)


def test_a_parts_settings_are_found_by_its_constructor() -> None:
    """Where the class does not name them."""

    class PartSettings(Settings):
        """Nothing to set."""

    class Part:
        def __init__(self, settings: PartSettings) -> None:
            """Takes them."""

    Part.__init__.__annotations__["settings"] = PartSettings
    assert registry.settings_type(Part) is PartSettings
