"""Which settings of the edge are refused."""

import pytest
from pydantic import ValidationError

from tusd_py.web.settings import HttpSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_path", "upload"),
        ("base_path", "/"),
        ("base_path", "//x/"),
        ("base_path", "/a b/"),
        ("public_url", "upload.example"),
        ("public_url", "https://a.example/?x"),
        ("public_url", "https://a.example/#x"),
        ("trusted_proxies", ["10.0.0.300"]),
        ("cors_origins", ["a\r\nb"]),
        ("cors_credentials", True),
        ("port", 70000),
        ("unknown", 1),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        HttpSettings.model_validate({name: value})


def test_paths_and_addresses_have_one_form() -> None:
    settings = HttpSettings(base_path="/files", public_url="https://a.example/")
    assert (settings.base_path, settings.public_url) == ("/files/", "https://a.example")
    assert HttpSettings(public_url=None).public_url is None
