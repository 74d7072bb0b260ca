"""Reports, the command line, the schema, and the files that are ready."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from daskagents.cli import main
from daskagents.personas import SpecError, load, parse, read_people, report, sample, schema

ROOT = Path(__file__).parents[1]
READY = sorted((ROOT / "examples" / "populations").glob("*.yaml"))

FIELDS = {
    "sex": {"proportions": {"f": 0.5, "m": 0.5}},
    "age": {"normal": {"mean": 44, "sd": 15, "min": 18, "integer": True}},
    "job": {
        "given": "sex",
        "proportions": {"f": {"a": 0.7, "b": 0.3}, "m": {"a": 0.2, "b": 0.8}},
    },
    "region": {"proportions": {"north": 0.4, "south": 0.6}},
}


def test_asked_for_against_achieved() -> None:
    spec = parse({"size": 1_000, "seed": 1, "fields": FIELDS, "persona": "{age}"})
    found = report(spec, sample(spec))
    assert found.exact and found.n == 1_000
    table = found.table.set_index(["field", "given", "value"])
    assert table.loc[("job", "f", "a"), "asked"] == 350 == table.loc[("job", "f", "a"), "achieved"]
    assert abs(table.loc[("age", "", "mean"), "difference"]) < 2
    distances = {(pair.one, pair.other): pair for pair in found.pairs}
    assert distances["sex", "job"].asked == "given" and distances["sex", "job"].distance == 0
    assert distances["sex", "region"].asked == "independent"
    assert 0 < distances["sex", "region"].distance < 0.1
    assert found.bits["sex"] == (1.0, 1.0) and found.bits["job"][0] < 1
    assert 200 < found.distinct < 600 and found.entropy < 10
    assert max(map(len, str(found).splitlines())) <= 100
    assert "350" in found._repr_html_() or "450" in found._repr_html_()


def test_people_of_another_file_are_told_apart() -> None:
    spec = parse({"size": 1_000, "fields": FIELDS})
    people = sample(spec)
    wrong = people.assign(job=people["job"][::-1].drop_vars("agent"))
    found = report(spec, wrong)
    assert not found.exact and found.worst is not None and found.worst.field == "job"
    assert "sex: total variation" in str(found)
    assert report(spec, people.to_dataframe()).exact
    with pytest.raises(SpecError, match="no column 'job'"):
        report(spec, people.drop_vars("job"))
    with pytest.raises(SpecError, match="holds 'f'"):
        report(spec, people.assign(region=people["sex"]))
    numbers = parse({"size": 4, "fields": {"n, b": {"joint": {1: {True: 0.5}, 3: {False: 0.5}}}}})
    right = sample(numbers)
    assert report(numbers, right).exact
    for column in ("n", "b"):
        with pytest.raises(SpecError, match=r"people have what the file gives nobody.*n, b = "):
            report(
                numbers,
                right.assign(
                    {column: right[column] * 0 + 1 > 0 if column == "b" else right[column] * 0 + 2}
                ),
            )
    with pytest.raises(SpecError, match="not of texts"):
        report(spec, people.assign(sex=people["age"]))


def test_a_picture(tmp_path: Path) -> None:
    spec = load(ROOT / "examples" / "populations" / "country.yaml")
    report(spec, sample(spec, 500)).plot(tmp_path / "people.png")
    assert (tmp_path / "people.png").stat().st_size > 10_000


def test_backgrounds_are_compared() -> None:
    spec = parse({"size": 4, "fields": {"job": {"proportions": {"a": 0.5, "b": 0.5}}}})
    people = sample(spec)
    texts = ["She likes rain.", "He likes the sun.", "She likes rain.", "They like snow."]
    assert "backgrounds: " in str(report(spec, people.assign(background=("agent", texts))))


# The command line


def test_sample_and_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(ROOT / "examples" / "populations" / "education.yaml")
    assert main(["personas", "sample", file, "-n", "50", "-o", "people.parquet"]) == 0
    assert capsys.readouterr().out == "50 people in people.parquet\n"
    people = read_people(tmp_path / "people.parquet")
    assert people.equals(sample(load(file), 50))
    assert main(["personas", "check", file, "people.parquet", "--plot", "people.svg"]) == 0
    said = capsys.readouterr().out
    assert "50 people" in said and "PhD" in said and "picture: people.svg" in said
    assert (tmp_path / "people.svg").exists()


def test_what_is_wrong_ends_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "people.yaml"
    path.write_text("size: 5\nfields:\n  x: {proportions: {a: 0.5, b: 0.7}}\n  y: {normal: {}}\n")
    assert main(["personas", "check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "people.yaml has 2 problems:" in said and "(line 3, column 20)" in said
    path.write_text("size: 5\nfields:\n  x: {proportions: {a: 0.5, b: 0.5}}\n")
    assert main(["personas", "sample", str(path), "-o", str(tmp_path / "x.csv")]) == 2
    assert ".parquet" in capsys.readouterr().err
    assert main(["personas", "check", str(path)]) == 0
    people = tmp_path / "people.parquet"
    sample(load(path), 100, out=people)
    path.write_text("size: 5\nfields:\n  x: {proportions: {a: 0.9, b: 0.1}}\n")
    assert main(["personas", "check", str(path), str(people)]) == 1
    assert "differ by a person or more" in capsys.readouterr().err
    assert main(["personas", "check", str(path), str(path)]) == 2


# The schema, and the files that are ready


def test_the_schema_is_what_the_parser_knows() -> None:
    assert schema.PATH.read_text() == schema.written(), "python -m daskagents.personas.schema"


def valid(given: object) -> bool:
    found = jsonschema.Draft202012Validator(json.loads(schema.written()))
    return bool(found.is_valid(given))


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_files(path: Path) -> None:
    assert valid(yaml.safe_load(path.read_text()))
    spec = load(path)
    found = report(spec, sample(spec, 2_000))
    assert found.exact
    assert "persona" in spec.names


def test_ready_files_are_those_of_the_paper() -> None:
    assert [path.stem for path in READY] == ["country", "education", "occupation"]
    kinds = [load(path).kinds for path in READY]
    assert len(kinds[1]["education"].values or ()) == 5 and len(kinds[2]["job"].values or ()) == 6
    assert {"age", "sex", "education", "job", "income"} <= {*kinds[0]}
    assert "ILLUSTRATIVE" in READY[0].read_text()


@pytest.mark.parametrize(
    ("field", "right"),
    [
        ({"proportions": {"a": 1}}, True),
        ({"proportions": {"a": -1}}, False),
        ({"proportions": {}}, False),
        ({"given": "a", "proportions": {"a": {"b": 1}}}, True),
        ({"proportions": {"a": {"b": 1}}}, False),
        ({"proportion": {"a": 1}}, False),
        ({"normal": {"mean": 1, "sd": 2, "min": 0, "integer": True}}, True),
        ({"normal": {"mean": "x", "sd": 2}}, False),
        ({"normal": {"mean": 1, "s": 2}}, False),
        ({"sequence": 4}, True),
        ({"template": 4}, False),
        ({"name": {"locale": "de_DE", "part": "first"}}, True),
        ({"name": {"part": "middle"}}, False),
        ("Utopia", True),
    ],
)
def test_the_schema_knows_right_from_wrong(field: object, right: bool) -> None:
    assert valid({"size": 3, "fields": {"x": field}}) == right
