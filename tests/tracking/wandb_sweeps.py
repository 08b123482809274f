"""The stand-in's sweeps: grid and random search of its own; all of W&B's, where its engine ``sweeps`` is installed."""

import itertools
import json
import math
import random
from collections.abc import Callable
from typing import Any

import yaml

from tests.tracking.wandb_runs import ENDED, Answer, Runs, Variables, dumps, new_id, project

try:
    import sweeps as engine
except ImportError:
    engine = None
if not hasattr(engine, "next_run"):  # a folder of that name, as this repository has one, can be imported too
    engine = None


class Sweeps(Runs):
    """Runs, and the sweeps that begin and stop them.

    Args:
        agent_stop: a run that is to stop early is stopped by its agent too (SIGTERM), as for a cancelled sweep.
    """

    def __init__(self, agent_stop: bool = False) -> None:
        super().__init__()
        self.agent_stop = agent_stop
        self.sweeps: dict[str, Any] = {}
        self.agents: dict[str, Any] = {}

    def operations(self) -> dict[str, Callable[[Variables], Answer]]:
        sweep = {"UpsertSweep": self.upsert_sweep, "UpsertSweepState": self.upsert_sweep}
        queries = dict.fromkeys(("SweepWithRuns", "GetSweepState", "SweepConfig"), self.query)
        agents = {"CreateAgent": self.create_agent, "Heartbeat": self.heartbeat}
        return {**super().operations(), **sweep, **queries, **agents}

    def upsert_bucket(self, v: Variables) -> Answer:
        answer = super().upsert_bucket(v)
        sweep = self.sweeps.get(answer["upsertBucket"]["bucket"]["sweepName"])
        if sweep and sweep["state"] == "PENDING":
            sweep["state"] = "RUNNING"
        return answer

    # Sweeps

    def upsert_sweep(self, v: Variables) -> Answer:
        name, warnings = (v.get("id") or "").removeprefix("S-") or new_id(), []
        sweep = self.sweeps.setdefault(name, {
            "id": f"S-{name}", "name": name, "entity": v.get("entityName") or "local", "state": "PENDING", "config": "",
            "project": v.get("projectName") or "uncategorized", "controller": "{}", "scheduler": "{}", "handed": [],
        })  # fmt: skip
        if v.get("config"):
            sweep["config"], sweep["cfg"] = v["config"], yaml.safe_load(v["config"])
            warnings = engine.schema_violations_from_proposed_config(sweep["cfg"]) if engine else []
        sweep.update({key: v[key] for key in ("controller", "scheduler", "state") if v.get(key)})
        home = project(sweep["project"], sweep["entity"])
        node = {"name": name, "id": sweep["id"], "state": sweep["state"], "project": home}
        return {"upsertSweep": {"sweep": node, "configValidationWarnings": warnings}}

    def query(self, v: Variables) -> Answer:
        sweep = self.sweeps.get(v.get("sweep") or v.get("name") or "")
        return {"project": {**project(v.get("project"), v.get("entity")), "sweep": sweep and self._node(sweep)}}

    def _node(self, sweep: Any) -> Answer:
        edges = [
            {"node": {
                "name": run["name"], "state": run["state"], "config": dumps(run["config"]), "exitcode": run["exitcode"],
                "heartbeatAt": None, "shouldStop": run["stop"], "stopped": run["stop"],
                "failed": run["state"] == "failed", "running": run["state"] == "running",
                "summaryMetrics": dumps(run["summary"]), "sampledHistory": [run["history"]],
            }}
            for run in self._runs(sweep)
        ]  # fmt: skip
        names = ("id", "name", "state", "config", "controller", "scheduler")
        about = {"method": sweep["cfg"].get("method"), "displayName": sweep["cfg"].get("name")}
        others = {"controllerRunName": None, "bestLoss": None, "runs": {"edges": edges}}
        return {**{name: sweep[name] for name in names}, **about, **others}

    def _runs(self, sweep: Any) -> list[Any]:
        return [run for run in self.runs.values() if run["sweep"] == sweep["name"]]

    # Agents

    def create_agent(self, v: Variables) -> Answer:
        agent = {"id": f"AG-{new_id()}", "host": v["host"], "sweep": self.sweeps[v["sweep"]]["name"], "beats": 0}
        self.agents[agent["id"]] = agent
        return {"createAgent": {"agent": {"id": agent["id"]}}}

    def heartbeat(self, v: Variables) -> Answer:
        commands = self._commands(self.agents[v["id"]], json.loads(v.get("runState") or "{}"))
        return {"agentHeartbeat": {"agent": {"id": v["id"]}, "commands": dumps(commands)}}

    def _commands(self, agent: Any, states: dict[str, bool]) -> list[Answer]:
        """What an agent is to do, whose runs are in these states."""
        sweep, running = self.sweeps[agent["sweep"]], [name for name, on in states.items() if on]
        agent["beats"] += 1
        self._stop_early(sweep)
        stopped = running if sweep["state"] == "CANCELED" else []
        if self.agent_stop:
            stopped += [name for name in running if self.runs[name]["stop"]]
        commands = [{"type": "stop", "run_id": name} for name in stopped]
        if sweep["state"] in ("FINISHED", "CANCELED"):
            return commands or ([] if running else [{"type": "exit"}])
        if sweep["state"] == "PAUSED" or running:
            return commands
        if _is_local(sweep):
            return self._scheduled(sweep, agent)
        return self._begin(sweep, agent, self.suggest(sweep))

    def _stop_early(self, sweep: Any) -> None:
        """Mark the runs that hyperband, or a controller on the user's machine, gives up."""
        names = json.loads(sweep["controller"] or "{}").get("earlystop") or []
        if engine and sweep["cfg"].get("early_terminate") and not _is_local(sweep):
            names = [*names, *(run.name for run in engine.stop_runs(sweep["cfg"], self._for_engine(sweep)))]
        for name in names:
            if name in self.runs:
                self.runs[name]["stop"] = True

    def _begin(self, sweep: Any, agent: Any, args: Any) -> list[Answer]:
        if args is None:
            sweep["state"] = "FINISHED"
            return [{"type": "exit"}]
        run = self.run(new_id(), sweep, sweep["name"])
        run["config"], run["agent"] = dict(args), agent["id"]
        program = sweep["cfg"].get("program")
        return [{"type": "run", "id": f"C-{run['name']}", "run_id": run["name"], "program": program, "args": args}]

    def _scheduled(self, sweep: Any, agent: Any) -> list[Answer]:
        """Begin the next run that a controller on the user's machine has asked for."""
        schedule = json.loads(sweep["scheduler"] or "{}")
        done = schedule.setdefault("scheduled", [])
        for item in json.loads(sweep["controller"] or "{}").get("schedule") or []:
            if item["id"] in [each["id"] for each in done]:
                continue
            commands = self._begin(sweep, agent, item["data"]["args"])
            if commands[0]["type"] == "run":
                done.append({"id": item["id"], "runid": commands[0]["run_id"]})
                sweep["scheduler"] = dumps(schedule)
            return commands
        return []

    # Search

    def suggest(self, sweep: Any) -> Any:
        """Parameter -> {"value": v} of the next run; None when the search is over."""
        config = sweep["cfg"]
        if config.get("run_cap") and len(self._runs(sweep)) >= config["run_cap"]:
            return None
        if engine:
            suggested = engine.next_run(config, self._for_engine(sweep))
            return None if suggested is None else dict(suggested.config)
        if config["method"] == "grid":
            return self._next_of_grid(sweep)
        return {key: {"value": sample(spec)} for key, spec in config["parameters"].items()}

    def _next_of_grid(self, sweep: Any) -> Any:
        axes = [[(key, value) for value in choices(spec)] for key, spec in sorted(sweep["cfg"]["parameters"].items())]
        for point in map(dict, itertools.product(*axes)):
            if point not in sweep["handed"]:
                sweep["handed"].append(point)
                return {key: {"value": value} for key, value in point.items()}
        return None

    def _for_engine(self, sweep: Any) -> list[Any]:
        metric = (sweep["cfg"].get("metric") or {}).get("name")
        known = (*ENDED, "running", "pending")
        return [
            engine.SweepRun(
                name=run["name"],
                config={key: value for key, value in run["config"].items() if key != "_wandb"},
                summaryMetrics=run["summary"],
                history=[row for row in run["history"] if metric in row],
                state=run["state"] if run["state"] in known else "running",
            )
            for run in self._runs(sweep)
        ]


def _is_local(sweep: Any) -> bool:
    """Whether the search runs on the user's machine (``wandb controller``)."""
    return sweep["cfg"].get("controller", {}).get("type") == "local"


def choices(spec: Any) -> list[Any]:
    """What a parameter of a grid can be; a nested one is a mapping."""
    if "parameters" in spec:
        points = itertools.product(*map(choices, spec["parameters"].values()))
        return [dict(zip(spec["parameters"], point, strict=True)) for point in points]
    values: list[Any] = spec.get("values", [spec.get("value")])
    return values


def sample(spec: Any) -> Any:
    """A random value of a parameter."""
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return random.choices(spec["values"], weights=spec.get("probabilities"))[0]
    low, high, step = spec.get("min"), spec.get("max"), spec.get("q", 1)
    draws: dict[str, Callable[[], float]] = {
        "int_uniform": lambda: random.randint(low, high),
        "uniform": lambda: random.uniform(low, high),
        "q_uniform": lambda: round(random.uniform(low, high) / step) * step,
        "log_uniform": lambda: math.exp(random.uniform(low, high)),
        "log_uniform_values": lambda: math.exp(random.uniform(math.log(low), math.log(high))),
        "inv_log_uniform_values": lambda: math.exp(random.uniform(math.log(low), math.log(high))),
        "q_log_uniform_values": lambda: round(math.exp(random.uniform(math.log(low), math.log(high))) / step) * step,
        "normal": lambda: random.gauss(spec.get("mu", 0), spec.get("sigma", 1)),
    }
    integers = isinstance(low, int) and isinstance(high, int)
    return draws[spec.get("distribution", "int_uniform" if integers else "uniform")]()
