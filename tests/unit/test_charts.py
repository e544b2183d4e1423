"""Charts become tables of what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pptx import Presentation
from pptx.chart.data import BubbleChartData, CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tasks.conversion.office.charts import Chart, read_chart
from tests.unit import conversion_samples as samples

_OFFICE_2016 = """<cx:chartSpace xmlns:cx="urn:cx" xmlns:a="urn:a"><cx:chartData><cx:data id="0">
<cx:strDim type="cat"><cx:lvl ptCount="2"><cx:pt idx="0">Fares</cx:pt><cx:pt idx="1">Grants</cx:pt></cx:lvl></cx:strDim>
<cx:numDim type="val"><cx:lvl ptCount="2" formatCode="General"><cx:pt idx="0">14.2</cx:pt><cx:pt idx="1">-3</cx:pt>
</cx:lvl></cx:numDim></cx:data></cx:chartData><cx:chart><cx:title><cx:tx><cx:rich><a:p><a:t>Income</a:t></a:p></cx:rich>
</cx:tx></cx:title><cx:plotArea><cx:plotAreaRegion><cx:series layoutId="waterfall"><cx:tx><cx:txData><cx:v>2024</cx:v>
</cx:txData></cx:tx><cx:dataId val="0"/></cx:series></cx:plotAreaRegion></cx:plotArea></cx:chart></cx:chartSpace>"""


@pytest.fixture
def made(tmp_path: Path):
    def chart(kind: Any, data: Any, title: str = "") -> Chart:
        presentation = Presentation()
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])
        frame = slide.shapes.add_chart(kind, 0, 0, Inches(3), Inches(3), data)
        frame.chart.has_title = bool(title)
        if title:
            frame.chart.chart_title.text_frame.text = title
        presentation.save(str(tmp_path / "chart.pptx"))
        parts = samples.members(tmp_path / "chart.pptx")
        part = next(content for name, content in parts.items() if name.startswith("ppt/charts/chart"))
        return read_chart(etree.fromstring(part), lambda value, code: f"{value} ({code})")

    return chart


def test_series_are_columns_and_categories_are_rows(made):
    data = CategoryChartData(number_format="0%")
    data.categories = ["Spring", "Summer | late"]
    data.add_series("Valley", (0.4, None))
    data.add_series("Summit", (0.1, 0.2))
    assert made(XL_CHART_TYPE.COLUMN_CLUSTERED, data, "Share").markdown == (
        "**Share**\n\n"
        "|  | Valley | Summit |\n| --- | --- | --- |\n"
        "| Spring | 0.4 (0%) | 0.1 (0%) |\n| Summer \\| late |  | 0.2 (0%) |"
    )


def test_levels_of_categories_are_joined(made):
    data = CategoryChartData()
    for year, halves in (("2023", ("H1", "H2")), ("2024", ("H1",))):
        category = data.add_category(year)
        for half in halves:
            category.add_sub_category(half)
    data.add_series("Rides", (1, 2, 3))
    rows = made(XL_CHART_TYPE.LINE, data).markdown.split("\n")[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["2023 H1", "2023 H2", "2024 H1"]


def test_points_by_two_values(made):
    data = XyChartData()
    for name, points in (("Rack", [(0.7, 2.7)]), ("Brake", [(1.8, 3.2)])):
        series = data.add_series(name)
        for x, y in points:
            series.add_data_point(x, y)
    assert made(XL_CHART_TYPE.XY_SCATTER, data).markdown == (
        "| x | Rack |\n| --- | --- |\n| 0.7 (General) | 2.7 (General) |\n\n"
        "| x | Brake |\n| --- | --- |\n| 1.8 (General) | 3.2 (General) |"
    )


def test_bubbles_have_a_size(made):
    data = BubbleChartData()
    data.add_series("Cars").add_data_point(1, 2, 10)
    head = made(XL_CHART_TYPE.BUBBLE, data).markdown.split("\n")[0]
    assert head == "| x | Cars | size |"


def test_charts_of_office_2016():
    chart = read_chart(etree.fromstring(_OFFICE_2016))
    assert chart.markdown == "**Income**\n\n|  | 2024 |\n| --- | --- |\n| Fares | 14.2 |\n| Grants | -3 |"


def test_a_chart_without_values_is_not_complete():
    chart = read_chart(
        etree.fromstring("<c:chartSpace xmlns:c='urn:c'><c:chart><c:plotArea/></c:chart></c:chartSpace>")
    )
    assert chart == Chart(markdown="", complete=False)
