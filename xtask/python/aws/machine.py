"""The proof of the state machine: moto runs the definition that Terraform made of it.

`walk(states)` takes Terraform's states, puts the rendered documents into moto's S3, and follows a datastore
through every way that its replication task may go. moto's interpreter lacks some things, which are put right
here: it can't wait for a Glue run (so runs are started and not waited for), it hands on bodies of S3 and dates as
they are in Python, and it starts executions by other names of arguments than its own client takes. What DMS says is scripted: moto's tasks never load anything.
"""

import json
import os
import time
import uuid

import botocore.client
import botocore.session
from moto import mock_aws

REGION = "eu-west-1"
FINISHED = "Stop Reason FULL_LOAD_ONLY_FINISHED"
LOADED = {"TablesErrored": 0, "TablesLoading": 0, "TablesQueued": 0, "TablesLoaded": 1, "FullLoadProgressPercent": 100}
LOADING = {**LOADED, "TablesLoading": 1, "FullLoadProgressPercent": 40}
BROKEN = {**LOADED, "TablesErrored": 1}
MISSING = {**LOADED, "TablesLoaded": 0}
EVERY = {**LOADED, "TablesLoaded": 2}
RELOADING = {**LOADED, "TablesLoading": 1}

# Who loads a datastore takes it: the first one at once, a later one from an execution that has ended.
TAKE = "TakeStore FindLoad"
TAKE_OVER = "TakeStore WhoHasStore IsHolderThis LookAtHolder IsHolderAtIt TakeOver FindLoad"
REFUSED = "TakeStore WhoHasStore IsHolderThis LookAtHolder IsHolderAtIt AnotherIsAtIt"

# What starts, what DMS says in turns, the states that are passed, how it ends.
WAYS = [
    ("a stream that was never started", {"store": "Trade"}, [("ready", None, None)], "FindStream IsStreaming StreamFirst NotYet", "SUCCEEDED"),
    ("a stream that still loads", {"store": "Trade"}, [("running", None, LOADING)], "FindStream IsStreaming NotYet", "SUCCEEDED"),
    ("a stream that reloads a table", {"store": "Trade"}, [("running", None, RELOADING)], "FindStream IsStreaming NotYet", "SUCCEEDED"),
    ("a stream with a table that is not loaded", {"store": "Trade"}, [("running", None, MISSING)], "FindStream IsStreaming Merge Export ExportOne ExportOne Fire FireOne", "SUCCEEDED"),
    ("a stream that runs", {"store": "Trade"}, [("running", None, EVERY)], "FindStream IsStreaming AllAreLoaded Merge Export ExportOne ExportOne Fire FireOne", "SUCCEEDED"),
    ("a stream that stopped", {"store": "Trade"}, [("stopped", None, LOADED)], "FindStream IsStreaming StreamOn NotYet", "SUCCEEDED"),
    ("a stream that failed", {"store": "Trade"}, [("failed", None, LOADED)], "FindStream IsStreaming StreamOn NotYet", "SUCCEEDED"),
    ("a stream that gave up a table", {"store": "Trade"}, [("running", None, BROKEN)], "FindStream IsStreaming StreamFailed", "FAILED"),
    ("a first load", {"store": "Shop"}, [("ready", None, None), ("running", None, LOADING), ("stopped", FINISHED, LOADED)],
     f"{TAKE} MayLoad LoadFirst Loading LookAtLoad IsLoaded Loading LookAtLoad IsLoaded Merge Export ExportOne ExportOne Fire", "SUCCEEDED"),
    ("a later load", {"store": "Shop"}, [("stopped", FINISHED, LOADED), ("stopped", FINISHED, LOADED)],
     f"{TAKE_OVER} MayLoad LoadAgain Loading LookAtLoad IsLoaded Merge Export ExportOne ExportOne Fire", "SUCCEEDED"),
    ("a load without a table", {"store": "Shop"}, [("stopped", FINISHED, LOADED), ("stopped", FINISHED, BROKEN)],
     f"{TAKE_OVER} MayLoad LoadAgain Loading LookAtLoad IsLoaded LoadFailed", "FAILED"),
    ("a load of a table that is not there", {"store": "Shop"}, [("stopped", FINISHED, LOADED), ("stopped", FINISHED, MISSING)],
     f"{TAKE_OVER} MayLoad LoadAgain Loading LookAtLoad IsLoaded LoadFailed", "FAILED"),
    ("a load that was stopped", {"store": "Shop"}, [("stopped", FINISHED, LOADED), ("stopped", "Stop Reason NORMAL", LOADING)],
     f"{TAKE_OVER} MayLoad LoadAgain Loading LookAtLoad IsLoaded LoadFailed", "FAILED"),
    ("a load while another runs", {"store": "Shop"}, [("running", None, LOADING)], f"{TAKE_OVER} MayLoad AnotherIsAtIt", "SUCCEEDED"),
    ("a load while another merges what it loaded", {"store": "Shop"}, [], REFUSED, "SUCCEEDED"),
    ("an output", {"store": "Totals"}, [], "Merge Export ExportOne Fire", "SUCCEEDED"),
]


def walk(states):
    """Follows every way; gives how many, and raises AssertionError where one ends elsewhere."""
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION=REGION)
    resources = [
        (it["type"], instance["attributes"])
        for state in states
        for it in state.get("resources", [])
        if it["mode"] == "managed"
        for instance in it["instances"]
    ]
    of_type = lambda wanted: [attributes for kind, attributes in resources if kind == wanted]
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        return Cloud(of_type).walk()


class Cloud:
    """moto, with what was rendered in it."""

    def __init__(self, of_type):
        self.said, self.runs = [], []
        self.put_right()
        client = lambda name: botocore.session.get_session().create_client(name, region_name=REGION)
        s3, glue, dms, self.machine = (client(name) for name in ("s3", "glue", "dms", "stepfunctions"))
        bucket = of_type("aws_s3_bucket")[0]["bucket"]
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        for it in of_type("aws_s3_object"):
            s3.put_object(Bucket=bucket, Key=it["key"], Body=it["content"])
        role = "arn:aws:iam::111122223333:role/none"
        for it in of_type("aws_glue_job"):
            runs_max = {"MaxConcurrentRuns": 1000}
            glue.create_job(Name=it["name"], Role=role, Command={"Name": "glueetl"}, ExecutionProperty=runs_max)
        [loads] = of_type("aws_dynamodb_table")
        self.loads, self.table = client("dynamodb"), loads["name"]
        self.loads.create_table(
            TableName=self.table, BillingMode=loads["billing_mode"], KeySchema=[{"AttributeName": loads["hash_key"], "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": it["name"], "AttributeType": it["type"]} for it in loads["attribute"]],
        )
        for it in of_type("aws_dms_replication_task"):
            dms.create_replication_task(
                ReplicationTaskIdentifier=it["replication_task_id"], MigrationType=it["migration_type"], TableMappings=it["table_mappings"],
                SourceEndpointArn="arn:source", TargetEndpointArn="arn:target", ReplicationInstanceArn="arn:instance",
            )
        definition = of_type("aws_sfn_state_machine")[0]["definition"]
        for lacking, instead in [("startJobRun.sync", "startJobRun"), ("$$.Execution.StartTime", "$$.Execution.Id"), ('"Seconds": 120', '"Seconds": 1')]:
            assert lacking in definition, lacking
            definition = definition.replace(lacking, instead)
        made = self.machine.create_state_machine(name="machine", definition=definition, roleArn=role)
        self.arn = made["stateMachineArn"]

    def put_right(self):
        """What moto lacks, and what DMS says."""
        call, create = botocore.client.BaseClient._make_api_call, botocore.session.Session.create_client

        def called(client, operation, arguments):
            is_of_machine = "ExecutionArn" in arguments
            if operation in ("StartExecution", "DescribeExecution"):
                arguments = {key[0].lower() + key[1:]: value for key, value in arguments.items()}
            if operation == "StartExecution":
                arguments = {"name": str(uuid.uuid4()), **arguments}
            if operation == "StartJobRun":
                self.runs.append(arguments["Arguments"])
            if operation == "StartReplicationTask":
                return {}
            answer = call(client, operation, arguments)
            if operation in ("StartExecution", "DescribeExecution"):
                answer.update({key: str(value) for key, value in answer.items() if key.endswith("Date")})
            if is_of_machine:
                # AWS hands on the names of all answers in Pascal's case.
                answer = {key[0].upper() + key[1:]: value for key, value in answer.items()}
            if operation == "DescribeReplicationTasks":
                status, reason, statistics = self.said.pop(0)
                task = {"ReplicationTaskArn": answer["ReplicationTasks"][0]["ReplicationTaskArn"], "Status": status}
                task.update({"StopReason": reason} if reason else {}, **({"ReplicationTaskStats": statistics} if statistics else {}))
                return {"ReplicationTasks": [task]}
            if operation == "GetObject":
                answer["Body"] = answer["Body"].read().decode()
            return answer

        def created(session, name, *rest, **named):
            return create(session, {"databasemigration": "dms"}.get(name, name), *rest, **named)

        botocore.client.BaseClient._make_api_call = called
        botocore.session.Session.create_client = created

    def walk(self):
        for what, given, said, passed, end in WAYS:
            self.said, self.runs[:] = list(said), []
            if passed == REFUSED:
                self.loads.put_item(TableName=self.table, Item={"store": {"S": given["store"]}, "execution": {"S": self.somebody()}})
            status, states = self.run(given)
            expected = ["What", "ReadStore", "HowIngested", *passed.split()]
            assert (status, states) == (end, expected), f"{what}: {status} by {states}, and {expected} was expected; {self.why}"
            assert not self.said, f"{what}: nobody asked DMS again"
        self.follows_what_it_fires()
        status, states = self.run({"maintain": True})
        assert (status, states) == ("SUCCEEDED", ["What", "Maintain"]), (status, states)
        return len(WAYS) + 2

    def follows_what_it_fires(self):
        """A new batch fires the transformer, and its output is merged and delivered in turn."""
        self.said, self.runs[:] = [("running", None, LOADED)], []
        self.run({"store": "Trade"})
        deadline = time.monotonic() + 60
        while len(self.runs) < 6 and time.monotonic() < deadline:
            time.sleep(0.1)
        found = sorted((it["--action"], it.get("--subject"), it.get("--container")) for it in self.runs)
        expected = [
            ("export", "Totals", "Reporting DB"), ("export", "Trade", "Reporting DB"), ("export", "Trade", "Warehouse"),
            ("merge", "Totals", None), ("merge", "Trade", None), ("transform", "TotalsByCountry", None),
        ]
        assert found == expected, found

    def somebody(self):
        """An execution that goes on."""
        waits = json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}})
        made = self.machine.create_state_machine(name="waits", definition=waits, roleArn="arn:aws:iam::111122223333:role/none")
        return self.machine.start_execution(stateMachineArn=made["stateMachineArn"], name=str(uuid.uuid4()))["executionArn"]

    def run(self, given):
        """Runs the machine; gives how it ended and the states that it entered."""
        started = self.machine.start_execution(stateMachineArn=self.arn, name=str(uuid.uuid4()), input=json.dumps(given))
        deadline = time.monotonic() + 60
        while True:
            execution = self.machine.describe_execution(executionArn=started["executionArn"])
            if execution["status"] != "RUNNING" or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        events = self.machine.get_execution_history(executionArn=started["executionArn"], maxResults=500)["events"]
        states = [it["stateEnteredEventDetails"]["name"] for it in events if "stateEnteredEventDetails" in it]
        self.why = execution.get("cause")
        return execution["status"], states
