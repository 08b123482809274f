"""The memory of the stand-in for W&B: runs, files, artifacts, and the GraphQL operations on them."""

import json
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

Variables = dict[str, Any]
Answer = dict[str, Any]

ENDED = ("finished", "failed", "crashed", "killed")


def new_id(length: int = 8) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


def dumps(value: Any) -> str:
    """JSON; what is no JSON is a number of numpy's, which the engine of sweeps hands out."""
    return json.dumps(value, default=lambda number: number.item())


def project(name: str | None, entity: str | None) -> Answer:
    name, entity = name or "uncategorized", entity or "local"
    return {"id": f"P-{name}", "name": name, "entity": {"id": f"E-{entity}", "name": entity}}


class Runs:
    """What W&B keeps of runs. ``url`` is the server's own, for uploads."""

    def __init__(self) -> None:
        self.url = ""
        self.runs: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}

    def run(self, name: str, variables: Variables, sweep: str | None = None) -> Any:
        """The run of that id, made where it is not there yet."""
        if name not in self.runs:
            home = project(variables.get("project"), variables.get("entity"))
            self.runs[name] = {
                "id": f"R-{name}", "name": name, "displayName": name, "state": "pending", "exitcode": None,
                "project": home["name"], "entity": home["entity"]["name"], "sweep": sweep, "group": None,
                "config": {}, "summary": {}, "history": [], "events": [], "console": {}, "files": [], "tags": [],
                "notes": None, "upserts": 0, "stop": False, "created": time.time(),
            }  # fmt: skip
        return self.runs[name]

    def storage(self, *parts: str) -> str:
        return "/".join([self.url, "storage", *(quote(part) for part in parts)])

    # Runs

    def operations(self) -> dict[str, Callable[[Variables], Answer]]:
        """Name of a GraphQL operation -> what answers it."""
        return {
            "Viewer": self.viewer,
            "ServerFeaturesQuery": lambda v: {"serverInfo": {"features": []}},
            "OrgFeatureFlags": lambda v: {"organization": {"featureFlags": []}},
            "OrganizationCoreWeaveOrganizationID": lambda v: {"entity": {"organization": None}},
            "UpsertBucket": self.upsert_bucket,
            "RunResumeStatus": self.resume_status,
            "RunState": lambda v: {"project": {"run": {"id": f"R-{v['run']}", "state": self.runs[v["run"]]["state"]}}},
            "CreateRunFiles": self.create_run_files,
            "MarkRunFilesUploaded": lambda v: {"markRunFilesUploaded": {"success": True}},
            "NotifyScriptableRunAlert": lambda v: {"notifyScriptableRunAlert": {"success": True}},
            "XXHashDigestsEnabled": lambda v: {"entity": {"xxhashDigestsEnabled": False}},
            "FetchOrgEntityFromEntity": lambda v: {"entity": {"organization": None, "user": None}},
            "FetchArtifactDigestAlgorithm": lambda v: {"project": {"artifactType": {"artifactCollection": None}}},
            "CreateArtifact": self.create_artifact,
            "CreateArtifactManifest": lambda v: {"createArtifactManifest": self.manifest(v)},
            "UpdateArtifactManifest": lambda v: {"updateArtifactManifest": self.manifest(v)},
            "CreateArtifactFiles": self.create_artifact_files,
            "CommitArtifact": self.commit_artifact,
            "UseArtifact": lambda v: {"useArtifact": {"artifact": {"id": v["input"]["artifactID"]}}},
            "ArtifactType": self.artifact_type,
        }

    def viewer(self, v: Variables) -> Answer:
        node = {"name": "local"}
        user = {"id": "V", "entity": "local", "username": "local", "name": "local", "email": "", "admin": False}
        return {"viewer": {**user, "flags": "{}", "apiKeys": {"edges": []}, "teams": {"edges": [{"node": node}]}}}

    def upsert_bucket(self, v: Variables) -> Answer:
        run = self.run(v.get("name") or (v.get("id") or "").removeprefix("R-") or new_id(), v, v.get("sweep"))
        inserted, run["upserts"] = run["upserts"] == 0, run["upserts"] + 1
        for theirs, ours in (("config", "config"), ("summaryMetrics", "summary")):
            if v.get(theirs):
                run[ours] = json.loads(v[theirs])
        names = ("displayName", "notes", "tags", "host", "program", "sweep", "jobType", "project", "entity")
        run.update({name: v[name] for name in names if v.get(name)}, group=v.get("groupName") or run["group"])
        if run["state"] in ("pending", *ENDED):
            run["state"] = "running"
        bucket = {
            "id": run["id"], "name": run["name"], "displayName": run["displayName"], "description": "",
            "config": dumps(run["config"]), "sweepName": run["sweep"], "historyLineCount": len(run["history"]),
            "project": project(run["project"], run["entity"]),
        }  # fmt: skip
        return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}

    def resume_status(self, v: Variables) -> Answer:
        run = self.runs.get(v["name"])
        home = project(v.get("project"), v.get("entity"))
        if run is None or not run["upserts"]:
            return {"model": {**home, "bucket": None}}
        bucket = {
            "id": run["id"], "name": run["name"], "displayName": run["displayName"], "tags": run["tags"],
            "notes": run["notes"], "config": dumps(run["config"]), "summaryMetrics": dumps(run["summary"]),
            "logLineCount": len(run["console"]), "historyLineCount": len(run["history"]),
            "eventsLineCount": len(run["events"]), "wandbConfig": dumps({"t": 1}),
            "historyTail": dumps([dumps(row) for row in run["history"][-1:]]),
            "eventsTail": dumps([dumps(row) for row in run["events"][-1:]]),
        }  # fmt: skip
        return {"model": {**home, "bucket": bucket}}

    def create_run_files(self, v: Variables) -> Answer:
        run = self.run(v["run"], v)
        run["files"] += [name for name in v["files"] if name not in run["files"]]
        files = [{"name": name, "uploadUrl": self.storage("runs", v["run"], name)} for name in v["files"]]
        return {"createRunFiles": {"runID": run["id"], "uploadHeaders": [], "files": files}}

    def file_stream(self, name: str, body: Any) -> Answer:
        """Take rows of history, summary and console; tell a run that it is to stop."""
        run = self.run(name, {})
        for file, chunk in (body.get("files") or {}).items():
            lines, offset = chunk["content"], chunk.get("offset", 0)
            kind = file.removeprefix("wandb-").removesuffix(".jsonl").removesuffix(".json")
            if kind in ("history", "events"):
                run[kind][offset : offset + len(lines)] = map(json.loads, lines)
            elif kind == "summary":
                run["summary"] = json.loads(lines[-1])
            elif kind == "output.log":
                run["console"].update({offset + number: line for number, line in enumerate(lines)})
        if body.get("complete"):
            run["exitcode"] = body.get("exitcode", 0)
            run["state"] = "killed" if run["stop"] else ("failed" if run["exitcode"] else "finished")
        return {"exitcode": None, "limits": {}, **({"stopped": True} if run["stop"] else {})}

    # Artifacts

    def create_artifact(self, v: Variables) -> Answer:
        given = v["input"]
        collection = given.get("artifactCollectionName") or str(given.get("artifactCollectionNames"))
        siblings = [each for each in self.artifacts.values() if each["collection"] == collection]
        aliases = [each.get("alias") for each in given.get("aliases") or []]
        same = [each for each in siblings if each["digest"] == given["digest"] and each["state"] == "COMMITTED"]
        artifact = same[0] if same else {
            "id": f"A-{new_id()}", "collection": collection, "type": given.get("artifactTypeName"),
            "digest": given["digest"], "run": given.get("runName"), "state": "PENDING", "version": len(siblings),
            "aliases": [], "metadata": given.get("metadata"), "files": [],
        }  # fmt: skip
        artifact["aliases"] += [alias for alias in aliases if alias not in artifact["aliases"]]
        self.artifacts[artifact["id"]] = artifact
        latest = {"id": artifact["id"], "versionIndex": artifact["version"]}
        sequence = {"id": f"Q-{collection}", "latestArtifact": latest}
        node = {"id": artifact["id"], "state": artifact["state"], "artifactSequence": sequence}
        return {"createArtifact": {"artifact": node}}

    def manifest(self, v: Variables) -> Answer:
        name = v.get("artifactID") or v.get("artifactManifestID", "").removeprefix("M-")
        url = self.storage("artifacts", name, "wandb_manifest.json")
        file = {"id": f"F-{name}", "uploadUrl": url, "uploadHeaders": []}
        return {"artifactManifest": {"id": f"M-{name}", "file": file}}

    def create_artifact_files(self, v: Variables) -> Answer:
        edges = []
        for file in v["input"]["artifactFiles"]:
            artifact, name = file["artifactID"], file["name"]
            self.artifacts[artifact]["files"].append(name)
            node = {
                "id": f"F-{new_id()}", "name": name, "displayName": name, "storagePath": f"{artifact}/{name}",
                "uploadUrl": self.storage("artifacts", artifact, name), "uploadHeaders": [],
                "uploadMultipartUrls": None, "artifact": {"id": artifact},
            }  # fmt: skip
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def commit_artifact(self, v: Variables) -> Answer:
        artifact = self.artifacts[v["artifactID"]]
        artifact["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact["id"], "digest": artifact["digest"]}}}

    def artifact_type(self, v: Variables) -> Answer:
        wanted = v["name"].split(":")[0]
        types = (each["type"] for each in self.artifacts.values() if each["collection"] == wanted)
        name = next(types, None)
        return {"project": {"artifact": name and {"artifactType": {"name": name}}}}
