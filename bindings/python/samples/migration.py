"""Instances of a service start at once: one of them migrates the database, the others wait and find it done.

Start a sidecar first: `sidelock serve`; with `--redis` the instances may be on different hosts.
"""

import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE, Popen

import sidelock

SCHEMA_WANTED = 7


def start(database: sqlite3.Connection) -> str:
    """An instance's start. The look at the schema is under the lock: who waited for it finds the work done."""
    with sidelock.Client(app="shop") as sl, sl.lock("migrations/shop", wait=300) as lease:
        [schema] = database.execute("PRAGMA user_version").fetchone()
        if schema >= SCHEMA_WANTED:
            return "found it done"
        migrate(database, lease.fence)
        return "migrated"


def migrate(database: sqlite3.Connection, fence: int) -> None:
    """In one transaction, and only if nobody with a higher fence was here: who is paused beyond its lease does no harm."""
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS migrations (fence INTEGER)")
        [highest] = database.execute("SELECT coalesce(max(fence), 0) FROM migrations").fetchone()
        assert fence > highest, "a migration that was overtaken"
        database.execute("INSERT INTO migrations VALUES (?)", [fence])
        time.sleep(0.2)
        database.execute(f"PRAGMA user_version = {SCHEMA_WANTED}")


def demonstrate() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "shop.db")
        instances = [Popen([sys.executable, __file__, path], stdout=PIPE, text=True) for _ in range(2)]
        said = sorted(instance.communicate()[0].strip() for instance in instances)
        assert said == ["found it done", "migrated"], said
        [count] = sqlite3.connect(path).execute("SELECT count(*) FROM migrations").fetchone()
        assert count == 1
    print("2 instances started, 1 migrated")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(start(sqlite3.connect(sys.argv[1])))
    else:
        demonstrate()
