"""CONTRIBUTING.md's recipe for a measure, followed word for word in a copy of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engarde_pipeline

ROOT = Path(engarde_pipeline.__file__).parent.parent

MIGRATION = '''
"""Campaigns have video views."""

from engarde_pipeline.postgres.schema.measures import add_measure, drop_measure

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_measure("campaign_metrics", "video_views", "count")


def downgrade() -> None:
    drop_measure("campaign_metrics", "video_views")
'''


@pytest.mark.long
def test_a_measure_is_one_line_a_migration_and_its_tests(tmp_path: Path) -> None:
    for package in ("engarde_pipeline", "engarde_pipeline_tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    _name_it(tmp_path / "engarde_pipeline/core/metrics.py")
    versions = tmp_path / "engarde_pipeline/postgres/schema/migrations/versions"
    (head,) = sorted(path.name[:4] for path in versions.glob("[0-9]*.py"))[-1:]
    (versions / "9999_video_views.py").write_text(MIGRATION.format(head=head))
    tests = tmp_path / "engarde_pipeline_tests/recipes/test_video_views.py"
    shutil.copy(tmp_path / "engarde_pipeline_tests/recipes/video_views.py", tests)

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long"]
    migrations = "engarde_pipeline_tests/postgres/test_migrations.py"
    same_tables = f"{migrations}::test_the_tables_in_code_are_the_tables_in_the_database"
    for selected in (str(tests), same_tables):
        ran = subprocess.run(
            [*command, selected],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def _name_it(vocabulary: Path) -> None:
    text = vocabulary.read_text()
    for before, after in (
        ("CTR = Ratio(", 'VIDEO_VIEWS = Measure("video_views", "count", "Plays of a video.")\n\nCTR = Ratio('),
        (
            "measures=(IMPRESSIONS, CLICKS, SPEND, CONVERSIONS, REVENUE),",
            "measures=(IMPRESSIONS, CLICKS, SPEND, CONVERSIONS, REVENUE, VIDEO_VIEWS),",
        ),
    ):
        assert before in text
        text = text.replace(before, after, 1)
    vocabulary.write_text(text)
