"""The answers of paid judges, kept in a database the moment they arrive, so that none is ever bought twice.

    with Answers("resources/answers.sqlite") as answers:
        if (found := answers.get(request.key)) is None: ...

An SQLite file in WAL mode: several processes may read and write it at once, and a killed one leaves it sound. Rows are
only added. The key of an answer is the digest of what was asked (model, messages, parameters), so that it is found
again by whoever asks the same, whatever the experiment. It holds no keys of endpoints.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sami.errors import UserError

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL,
    cost REAL, account TEXT NOT NULL, arrived TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS answers_of_account ON answers (account, cost);
"""


class Answers:
    """The database; a context manager.

    Args:
        path: its file, made where it does not exist.

    Raises:
        UserError: the file is something else, or cannot be written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")  # kills lose nothing; a power cut may
            self._database.executescript(_TABLES)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{path}: found something that cannot be used as the database of answers ({error}), expected an SQLite "
                "file that can be written, or none. Move it away, or name another file with 'answers'."
            ) from None

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def get(self, key: str) -> tuple[Any, float | None] | None:
        """The body of an answer and the dollars paid for it (None without a price); None where there is no answer."""
        row = self._database.execute("SELECT answer, cost FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else (json.loads(row[0]), row[1])

    def add(self, key: str, request: dict[str, Any], answer: dict[str, Any], cost: float | None, account: str) -> None:
        """Keeps an answer. The first one stays where two runs have asked the same at the same time."""
        self._database.execute(
            "INSERT OR IGNORE INTO answers (key, model, request, answer, cost, account) VALUES (?, ?, ?, ?, ?, ?)",
            (key, request["model"], json.dumps(request), json.dumps(answer), cost, account),
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Answers added in this context are kept all, or none of them where it does not end."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def spent(self, account: str) -> float:
        """Dollars spent on an account so far, by all runs."""
        query = "SELECT TOTAL(cost) FROM answers WHERE account = ?"
        return self._database.execute(query, (account,)).fetchone()[0]
