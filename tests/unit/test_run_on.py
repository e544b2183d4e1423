"""Where stages run: what people type, and the stages that only a home can run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from blocks.errors import InvalidOptions
from blocks.language_model.settings import LanguageModelSettings
from tasks.contract import Services
from tasks.facts import FactOptions
from tasks.remote.run_on import check_run_on, read_run_on
from waybill.services.run_options import (
    check_remote_stages,
    read_options_and_run_on,
    read_run_on_json,
    read_run_on_pairs,
)

WAITS = {"label": "gpu-pool", "wait": "10m", "otherwise": "fail"}


def test_a_label_alone_waits_ten_minutes_and_then_fails() -> None:
    (place,) = read_run_on({"chunker": "gpu-pool"}).values()
    assert (place.label, place.wait, place.otherwise) == ("gpu-pool", timedelta(minutes=10), "fail")


def test_what_is_typed_in_each_place_is_the_same_parameter() -> None:
    wanted = {"chunker": WAITS, "markdown-conversion": WAITS}
    assert read_run_on_pairs(["chunker=gpu-pool", "markdown-conversion = gpu-pool"]) == wanted
    assert read_run_on_json('{"chunker": "gpu-pool", "markdown_conversion": {"label": "gpu-pool"}}') == wanted
    text = '{"chunker": {"max_tokens": 200}, "run_on": {"chunker": "gpu-pool", "markdown-conversion": "gpu-pool"}}'
    assert read_options_and_run_on(text, "options.json") == ({"chunker": {"max_tokens": 200}}, wanted)
    assert read_options_and_run_on("{}", "options.json") == ({}, None)
    assert {name: place.model_dump(mode="json") for name, place in read_run_on(wanted).items()} == wanted


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["chunker"], "a stage and a label such as chunker=gpu-pool"),
        (["chunker="], "wrong at chunker.label"),
        (["=gpu-pool"], "names the stage ''"),
        (["chunker=Gpu Pool"], "wrong at chunker.label"),
        (["nonsense=gpu-pool"], "names the stage 'nonsense'"),
    ],
)
def test_a_mistake_is_named(pairs: list[str], said: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        read_run_on_pairs(pairs)
    assert said in refused.value.message


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "{", '{"chunker": 7}', '{"chunker": null}', '{"chunker": {"label": "a", "wait": 5}}',
     '{"chunker": {"label": "a", "otherwise": "never"}}', '{"chunker": {"label": "a", "more": 1}}'],
)  # fmt: skip
def test_json_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        read_run_on_json(text)


def test_stages_that_need_this_home_are_refused_as_soon_as_that_is_known() -> None:
    check_remote_stages(None, {})
    check_remote_stages({"chunker": WAITS, "fact-generator": WAITS}, {})
    with pytest.raises(InvalidOptions, match="ingestor needs the catalogue"):
        check_remote_stages({"ingestor": WAITS}, {})
    with pytest.raises(InvalidOptions, match="fact-generator needs"):
        check_remote_stages({"fact-generator": WAITS}, {"fact_generator": {"method": "language-model"}})
    places = read_run_on({"fact-generator": "gpu-pool"})
    model = LanguageModelSettings(base_url="http://127.0.0.1:1/v1", model="m", api_key="k")  # type: ignore[arg-type]
    services = Services(home=Path(), language_model=model)
    with pytest.raises(InvalidOptions, match="fact-generator needs"):
        check_run_on(places, {"fact-generator": FactOptions()}, services)
    check_run_on(places, {"fact-generator": FactOptions(method="extractive")}, services)
    check_run_on(places, {"fact-generator": FactOptions()}, Services(home=Path()))
