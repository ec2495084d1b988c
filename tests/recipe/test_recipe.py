"""Recipes: what is refused and in which words, overrides, wiring, and the way back to YAML."""

import runpy
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compressor import balls
from compressor.errors import RecipeError
from compressor.plugins import names
from compressor.recipe import packaged
from compressor.recipe.schema import STAGES, Recipe, dump, load_recipe, parse

SMALL = """\
seed: 0
model: {checkpoint: folder, task: text-classification}
data: {dataset: folder}
stages:
  - stage: project
    column_sparsity: 0.5
    retrain: {steps: 1}
  - stage: shrink
  - stage: export
  - stage: quantize
"""
LOOKALIKES = st.from_regex(r"[-+.0-9eE_:x~]{1,8}|null|yes|No|true|<<|=", fullmatch=True)
OTHER_LINE_BREAKS = "\x85\u2028\u2029"  # PyYAML 6.0.3 writes them as they are and reads them as line feeds


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(text: str, *overrides: str) -> Recipe:
    Path("my.yaml").write_text(text, encoding="utf-8")
    return load_recipe("my.yaml", overrides)


def first_stage(text: str, *overrides: str) -> Any:
    """Options of the first stage, whose keys hang on the stage."""
    return load(text, *overrides).stages[0]


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return str(caught.value).splitlines()


def with_line(text: str, number: int, line: str) -> str:
    lines = text.splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


def test_a_recipe_loads_with_defaults():
    recipe = load(SMALL)
    assert [stage.stage for stage in recipe.stages] == ["project", "shrink", "export", "quantize"]
    assert first_stage(SMALL).ball == "l1_inf"
    assert recipe.bench.lengths == (32, 128)
    assert recipe.gates.max_accuracy_drop is None


def test_all_problems_come_at_once_in_the_order_of_the_file():
    text = textwrap.dedent("""\
        seed: 0
        model: {checkpoint: folder, task: text-classification}
        data: {dataset: folder, held_out: 2}
        data: {dataset: other}
        stages:
          - stage: project
            ball: l1_info
            column_sparsity: 30
            round: 6
            retrain: {steps: 400}
          - stage: shirnk
          - stage: export
          - stage: finetune
            retrain: {steps: 1}
        """)
    known = ", ".join(names(balls))
    assert problems(text, "bench.threads=[0]") == [
        "my.yaml:3: data.held_out: should be less than 1, got 2",
        "my.yaml:4: data: duplicate key, first given at my.yaml:3; keep one",
        f"my.yaml:7: stages[0].ball: no such file in compressor.balls; choose from {known}, got 'l1_info'",
        "my.yaml:8: stages[0].column_sparsity: should be less than 1, got 30",
        "my.yaml:9: stages[0].round: unknown key; did you mean 'rounds'?",
        "my.yaml:11: stages[1]: unknown stage 'shirnk'; did you mean 'shrink'?",
        "my.yaml:13: stages[3]: 'finetune' takes Model, but 'export' on line 12 gives OnnxGraph",
        "--set bench.threads=[0]: bench.threads[0]: should be greater than 0, got 0",
    ]


@pytest.mark.parametrize(
    ("number", "line", "expected"),
    [
        (1, "sede: 0", "sede: unknown key; did you mean 'seed'?"),
        (1, "x: 0", "x: unknown key; choose from seed, model, data, stages, bench, gates"),
        (1, "seed: true", "seed: should be a valid integer, got True"),
        (1, "seed: '0'", "seed: should be a valid integer, got '0'"),
        (1, "seed: 0.0", "seed: should be a valid integer, got 0.0"),
        (1, "seed: -1", "seed: should be greater than or equal to 0, got -1"),
        (1, "seed:", "seed: should be a valid integer, got None"),
        (1, "model: {}", "model: duplicate key, first given at my.yaml:1; keep one"),
        (2, "model: {checkpoint: a, task: speech}", "model.task: no such task; choose from image-classification, "),
        (2, "model: {checkpoint: a}", "model.task: required key is missing; add it"),
        (2, "model: text", "model: should be a mapping, got 'text'"),
        (2, "model: {checkpoint: 7, task: text-classification}", "model.checkpoint: should be text; put it in quotes"),
        (3, "data: {dataset: a, columns: []}", "data.columns: should be a mapping, got a list"),
        (3, "data: {dataset: a, labels: {a: []}}", "data.labels.a: should be"),
        (10, "? [a]", "a key should be text, got a list or a mapping; name it"),
        (5, "  - stages: project", "stages[0]: has no key 'stage'; add it"),
        (5, "  - 3", "invalid YAML"),
        (6, "    column_sparsity: {'*.ffn': 30}", "stages[0].column_sparsity.*.ffn: should be less than 1, got 30"),
        (
            6,
            "    column_sparsity: half",
            "stages[0].column_sparsity: should be a valid number or a mapping, got 'half'",
        ),
        (6, "    radios: 1", "stages[0].radios: unknown key; did you mean 'radius'?"),
        (7, "    retrain: {steps: 1, epochs: 1}", "stages[0].retrain: give either 'steps' or 'epochs'"),
        (
            7,
            "    retrain: {steps: 1, distill: {logit: 1}}",
            "retrain.distill.logit: unknown key; did you mean 'logits'?",
        ),
        (7, "    retrain: {steps: 1, lr: .inf}", "stages[0].retrain.lr: should be a valid number, got '.inf'"),
        (7, "    retrain: {steps: 1, lr: 1e999}", "stages[0].retrain.lr: should be a finite number, got inf"),
        (7, "    retrain:", "stages[0].retrain: should be a mapping, got None"),
        (8, "    <<: {rounds: 3}", "stages[0]: merge keys are not allowed, got '<<'; write the keys out"),
        (9, "  - stage: !!str export", "tags are not allowed, got '!!str'; write the value out"),
        (9, "  - &export", "anchors are not allowed, got '&export'; write the value out"),
        (9, "  - *export", "aliases are not allowed, got '*export'; write the value out"),
        (9, "  - [", "invalid YAML"),
        (9, "\t- stage: export", "invalid YAML, found character '\\t' that cannot start any token; fix it"),
        (9, "  - stage: \a", "invalid YAML, it contains a control character; remove it"),
        (9, "--- {}", "invalid YAML, found another document; fix it"),
        (10, "  - stage: hash", "stages[3]: unknown stage 'hash'; choose from"),
        (10, "benhc: {}", "benhc: unknown key; did you mean 'bench'?"),
        (10, "bench: {threads: []}", "bench.threads: is empty; give at least one entry"),
        (10, "bench: {meter: rapid}", "bench.meter: no such file in compressor.bench.meters; did you mean 'rapl'?"),
        (10, "gates: {max_size_ratio: 0}", "gates.max_size_ratio: should be greater than 0, got 0"),
    ],
)
def test_each_mistake_has_its_line_and_words(number, line, expected):
    found = problems(with_line(SMALL, number, line))
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("my.yaml:") for problem in found)


def test_an_unknown_key_is_on_its_own_line():
    assert problems(with_line(SMALL, 7, "    retrain: {steps: 1}\n    round: 3")) == [
        "my.yaml:8: stages[0].round: unknown key; did you mean 'rounds'?"
    ]


@pytest.mark.parametrize("stages", ["stages: []", "stages:", "stages: {}", "stages: 5", "stages: text", ""])
def test_a_recipe_without_stages_is_refused(stages):
    text = "".join(SMALL.splitlines(keepends=True)[:3]) + stages
    [problem] = problems(text)
    assert ": stages: " in problem


def test_nothing_else_is_needed_to_judge_the_stages():
    assert problems("stages: [{stage: export}, 3]") == [
        "my.yaml:1: model: required key is missing; add it",
        "my.yaml:1: data: required key is missing; add it",
        "my.yaml:1: stages[1]: should be a mapping, got 3",
    ]


@pytest.mark.parametrize("text", ["", "- 1", "text", "null"])
def test_what_is_no_mapping_is_refused(text):
    assert "should be a mapping" in problems(text)[0]


def test_a_file_that_is_no_text_is_refused():
    Path("my.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"my.yaml: cannot be read as UTF-8 text"):
        load_recipe("my.yaml")


def test_an_alias_that_holds_itself_is_refused():
    assert "my.yaml:1: aliases are not allowed, got '*a'; write the value out" in problems("stages: &a [*a]")


@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}?!&*<|>'\"#,%@` \n\t0.~é\x00\ud800"), max_size=30))
def test_any_text_is_a_recipe_or_a_recipe_error(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "my.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RecipeError):
        load_recipe(file)


class TestScalars:
    def test_short_floats_are_numbers(self):
        assert first_stage(SMALL.replace("{steps: 1}", "{steps: 1, lr: 1e-4}")).retrain.lr == 1e-4

    def test_whole_numbers_pass_for_floats(self):
        assert first_stage(SMALL.replace("{steps: 1}", "{epochs: 2}")).retrain.epochs == 2.0

    def test_words_that_yaml_1_1_takes_for_something_else_are_text(self):
        recipe = load(
            SMALL.replace("data: {dataset: folder}", "data: {dataset: 2024-01-01, labels: {no: yes, 0: off}}")
        )
        assert recipe.data.dataset == "2024-01-01"
        assert recipe.data.labels == {"no": "yes", "0": "off"}


class TestOverrides:
    def test_values_are_yaml(self):
        recipe = load(
            SMALL, "seed=3", "stages.0.retrain.lr=1e-3", "stages[0].widths=['*.ffn']", "bench.threads=[1, 4]",
            "data.report_split=null", "gates={max_size_ratio: 0.5}", "model.checkpoint=a=b",
        )  # fmt: skip
        stage: Any = recipe.stages[0]
        assert (recipe.seed, stage.retrain.lr, stage.widths) == (3, 1e-3, ("*.ffn",))
        assert (recipe.bench.threads, recipe.gates.max_size_ratio) == ((1, 4), 0.5)
        assert (recipe.data.report_split, recipe.model.checkpoint) == (None, "a=b")

    def test_missing_mappings_are_made(self):
        assert first_stage(SMALL, "stages.0.retrain.distill.logits=0.5").retrain.distill.logits == 0.5

    def test_a_later_one_wins(self):
        assert load(SMALL, "seed=1", "seed=2").seed == 2

    def test_the_stage_itself_can_be_replaced(self):
        assert load(SMALL, "stages.0={stage: finetune, retrain: {steps: 2}}").stages[0].stage == "finetune"

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("sede=1", "sede: unknown key; did you mean 'seed'?"),
            ("seed=one", "seed: should be a valid integer, got 'one'"),
            ("seed", "is not a setting; write KEY=VALUE, such as stages.0.retrain.steps=5"),
            ("=3", "is not a setting; write KEY=VALUE, such as stages.0.retrain.steps=5"),
            ("stages.4.stage=export", "stages has 4 entries, counted from 0, got '4'; use an existing index"),
            ("stages.-1.stage=export", "stages has 4 entries, counted from 0, got '-1'; use an existing index"),
            ("stages.last.stage=export", "stages has 4 entries, counted from 0, got 'last'; use an existing index"),
            ("seed.x=1", "seed has no keys, it is 0; set it as a whole"),
            ("seed=[", "invalid YAML, expected the node content, but found '<stream end>'; fix it"),
            ("seed=!!int 1", "tags are not allowed, got '!!int'; write the value out"),
            ("seed=*a", "aliases are not allowed, got '*a'; write the value out"),
            ("gates={a: 1, a: 2}", "gates.a: duplicate key, first given at --set gates={a: 1, a: 2}; keep one"),
            ("stages.0.retrain={}", "stages[0].retrain: give either 'steps' or 'epochs'"),
            ("stages.1.stage=shirnk", "stages[1]: unknown stage 'shirnk'; did you mean 'shrink'?"),
            ("stages.0.stage=quantize", "stages[0]: 'quantize' takes OnnxGraph, but the first stage is given Model"),
        ],
    )
    def test_its_problems_name_it(self, setting, expected):
        assert f"--set {setting}: {expected}" in problems(SMALL, setting)

    def test_a_stage_that_an_override_moved_is_named_by_its_place(self):
        found = problems(SMALL, "stages.1={stage: export}", "stages.2.stage=shrink")
        assert found == [
            "my.yaml:10: stages[3]: 'quantize' takes OnnxGraph, but 'shrink' in stages[2] gives Model",
            "--set stages.2.stage=shrink: stages[2]: 'shrink' takes Model, but 'export' in stages[1] gives OnnxGraph",
        ]

    def test_replaced_keys_are_forgotten(self):
        setting = "stages.0={stage: project, retrain: {steps: 1}}"
        what = "give one of 'column_sparsity', 'target', 'radius' and 'radius_fraction'"
        assert problems(SMALL, setting) == [f"--set {setting}: stages[0]: {what}"]


class TestWiring:
    def test_a_graph_cannot_go_back_to_a_model(self):
        assert problems(SMALL + "  - stage: shrink\n") == [
            "my.yaml:11: stages[4]: 'shrink' takes Model, but 'quantize' on line 10 gives OnnxGraph"
        ]

    def test_the_first_stage_is_given_a_model(self):
        assert problems(SMALL.replace("  - stage: project", "  - stage: quantize\n  - stage: project")) == [
            "my.yaml:5: stages[0]: 'quantize' takes OnnxGraph, but the first stage is given Model",
            "my.yaml:6: stages[1]: 'project' takes Model, but 'quantize' on line 5 gives OnnxGraph",
        ]

    def test_random_weights_are_trained_first(self):
        text = SMALL.replace("{checkpoint: folder, task: text", "{config: {model_type: vit}, task: image")
        what = "'project' comes first, but model.config starts from random weights; put 'finetune' before it"
        assert problems(text) == [f"my.yaml:5: stages[0]: {what}"]
        assert load(text, "stages.0={stage: finetune, retrain: {epochs: 1}}").model.config == {"model_type": "vit"}

    def test_every_stage_says_what_it_takes_and_gives(self):
        assert set(STAGES) >= {"finetune", "drop_layers", "project", "shrink", "export", "quantize"}


class TestPackaged:
    @pytest.mark.parametrize("name", packaged.summaries())
    def test_each_loads_by_name_from_any_folder_and_comes_back_from_yaml(self, name):
        recipe = load_recipe(name)
        assert load(dump(recipe)) == recipe

    def test_each_says_in_its_first_line_what_it_does(self):
        assert packaged.summaries()
        assert all(packaged.summaries().values())

    def test_a_path_comes_first(self):
        name = next(iter(packaged.summaries()))
        Path(name).write_text(SMALL, encoding="utf-8")
        assert load_recipe(name).model.checkpoint == "folder"

    def test_an_unknown_name_suggests_the_nearest(self):
        with pytest.raises(
            RecipeError, match=r"^digit_l1inf.yaml: no such file or .* did you mean 'digits_l1inf.yaml'"
        ):
            load_recipe("digit_l1inf.yaml")
        with pytest.raises(RecipeError, match=r"^x: no such file or packaged recipe; choose from .*digits_l1inf.yaml"):
            load_recipe("x")

    def test_a_folder_is_no_recipe(self, tmp_path):
        with pytest.raises(RecipeError, match=r"is a folder; give the .yaml file in it"):
            load_recipe(tmp_path)

    def test_an_installed_package_brings_its_own(self, tmp_path, monkeypatch):
        (tmp_path / "compressor" / "recipe" / "packaged").mkdir(parents=True)
        monkeypatch.setattr(packaged, "__file__", str(tmp_path / "compressor" / "recipe" / "packaged.py"))
        assert packaged.folder() == tmp_path / "compressor" / "recipe" / "packaged"


class TestDump:
    def test_it_loads_back_equal(self):
        recipe = load(SMALL, "stages.0.retrain.distill={logits: 1e-7}", "stages.0.column_sparsity={'*.ffn': 0.5}")
        assert load(dump(recipe)) == recipe

    @given(text=LOOKALIKES | st.text(alphabet=st.characters(codec="utf-8", exclude_characters=OTHER_LINE_BREAKS)))
    def test_texts_that_look_like_something_else_stay_texts(self, tmp_path_factory, text):
        recipe = parse({**yaml.safe_load(SMALL), "data": {"dataset": text, "labels": {"a": text}}})
        file = tmp_path_factory.mktemp("dump") / "my.yaml"
        file.write_text(dump(recipe), encoding="utf-8", newline="")
        assert load_recipe(file) == recipe

    def test_it_says_every_key(self):
        dumped = yaml.safe_load(dump(load(SMALL)))
        assert set(dumped) == set(Recipe.model_fields)
        assert set(dumped["stages"][0]) == set(STAGES["project"].Options.model_fields)


class TestParse:
    def test_plain_data_is_a_recipe(self):
        data = yaml.safe_load(SMALL)
        assert parse(data) == load(SMALL)
        assert parse({**data, "model": {**data["model"], "checkpoint": Path("folder")}}) == load(SMALL)
        assert parse(data, ["seed=5"]).seed == 5

    def test_its_problems_have_places_and_no_lines(self):
        with pytest.raises(RecipeError) as caught:
            parse({**yaml.safe_load(SMALL), "seed": "0", "stages": ()})
        assert str(caught.value).splitlines() == [
            "seed: should be a valid integer, got '0'",
            "stages: is empty; give at least one entry",
        ]


def test_the_reference_page_is_what_the_code_says():
    docs = Path(__file__).parents[2] / "docs"
    reference = runpy.run_path(str(docs / "recipe_reference.py"))["reference"]
    assert (docs / "reference" / "recipe.md").read_text(encoding="utf-8") == reference(), (
        "run: python docs/recipe_reference.py"
    )


def test_every_key_is_explained():
    undocumented = [
        f"{name}.{key}"
        for name, group in Recipe.model_json_schema()["$defs"].items()
        for key, field in group["properties"].items()
        if key != "stage" and "$ref" not in field and not field.get("description")
    ]
    assert undocumented == []


@pytest.mark.parametrize(("written", "read"), [("2%", 0.02), ("0.5 %", 0.005), ("0.02", 0.02)])
def test_a_fraction_may_be_a_percentage(written, read):
    recipe = load(SMALL.replace("{dataset: folder}", f"{{dataset: folder, held_out: {written}}}")
                  + f"gates: {{max_accuracy_drop: {written}}}\n")  # fmt: skip
    assert (recipe.data.held_out, recipe.gates.max_accuracy_drop) == (pytest.approx(read), pytest.approx(read))
    assert parse(yaml.safe_load(dump(recipe))) == recipe


def test_a_sparsity_may_be_a_percentage():
    assert first_stage(SMALL.replace("0.5", "50%")).column_sparsity == 0.5
    assert first_stage(SMALL.replace("0.5", "{'*.ffn': 25%}")).column_sparsity == {"*.ffn": 0.25}
    with pytest.raises(RecipeError, match="column_sparsity"):
        load(SMALL.replace("0.5", "150%"))


def test_no_meter_may_be_asked_for():
    assert load(SMALL + "bench: {meter: none}\n").bench.meter == "none"
