"""The SQL by which a document's runs are found in Prefect's own database, and its text is taken out of it; pure.

Written for the tables of Prefect 3.9. Names are taken out of every table by `text_columns`; here is only what can hold
text of the document itself, in what is about it.
"""

from __future__ import annotations

HAS_FLOW = "select exists (select from flow where id = any(%(flow_ids)s::uuid[])) as found"

# The runs, the runs of their subflows, and the tasks of all of them.
RUNS_AND_TASKS = """
    with recursive ours (id) as (
        select unnest(%(run_ids)s::uuid[])
        union
        select child.id from ours
          join task_run parent on parent.flow_run_id = ours.id
          join flow_run child on child.parent_task_run_id = parent.id
    )
    select array(select id from ours) as run_ids,
           array(select t.id from task_run t where t.flow_run_id in (select id from ours)) as task_ids
"""

# Whether a run *r* is known to belong to another catalogue: it may have documents of the same names.
_FOREIGN = """
    (case when r.labels::jsonb ? 'waybill.catalogue' then r.labels::jsonb ->> 'waybill.catalogue' <> %(catalogue)s
          else exists (select from jsonb_array_elements_text(r.tags) as tag where tag ~ '^waybill-[0-9a-f]+-[0-9a-f]+$')
               and not exists (select from jsonb_array_elements_text(r.tags) as tag
                                where tag like 'waybill-' || %(catalogue)s || '-%%') end)
"""
IS_FOREIGN = f"""
    select exists (
        select from flow_run r
         where (r.id = any(%(ids)s::uuid[])
                or r.id in (select t.flow_run_id from task_run t where t.id = any(%(ids)s::uuid[]))) and {_FOREIGN}
    ) as found
"""

_ENDED = "('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')"

# Runs that have begun or will: of the document, or with its source as a parameter. What a schedule has planned ahead is
# not under way.
UNDER_WAY = f"""
    select r.id, r.state_type::text as state from flow_run r join flow f on f.id = r.flow_id
     where r.state_type not in {_ENDED} and f.name <> 'forget-document'
       and not (r.auto_scheduled and r.state_type = 'SCHEDULED')
       and (r.id = any(%(run_ids)s::uuid[]) or (r.parameters::text ilike any(%(patterns)s) and not {_FOREIGN}))
     order by r.id limit 20
"""

# Task states reach the database some seconds after the run has ended.
NOT_RECORDED = f"""
    select exists (
        select from flow_run r where r.id = any(%(run_ids)s::uuid[]) and r.state_type in {_ENDED}
           and r.end_time > clock_timestamp() - interval '1 minute'
    ) as ended_lately, exists (
        select from flow_run r join task_run t on t.flow_run_id = r.id
         where r.id = any(%(run_ids)s::uuid[]) and r.state_type in {_ENDED}
           and r.end_time > clock_timestamp() - interval '1 minute' and t.state_type not in {_ENDED}
    ) as waits
"""

_ARTIFACTS = """
    select id, flow_run_id, type, data, description from {table}
     where (flow_run_id = any(%(run_ids)s::uuid[]) or task_run_id = any(%(task_ids)s::uuid[])) and type <> 'progress'
"""
ARTIFACT_TABLES = ("artifact", "artifact_collection")
ARTIFACTS = {table: _ARTIFACTS.format(table=table) for table in ARTIFACT_TABLES}
PUT_ARTIFACT = {
    table: f"update {table} set data = %(data)s::json, description = %(description)s where id = %(id)s"
    for table in ARTIFACT_TABLES
}

# Each: rows with a text that may be of the document, a page at a time, and what is done with one that is.
LOGS = """
    select id, message as text from log
     where (flow_run_id = any(%(run_ids)s::uuid[]) or task_run_id = any(%(task_ids)s::uuid[])) and id > %(after)s
     order by id limit %(limit)s
"""
REMOVE_LOGS = "delete from log where id = any(%(ids)s::uuid[])"

_STATES = """
    select id, coalesce(message, '') || ' ' || coalesce(data::text, '') as text from {table}
     where {owner} = any({owners}::uuid[]) and (coalesce(message, '') <> '' or data is not null) and id > %(after)s
     order by id limit %(limit)s
"""
FLOW_RUN_STATES = _STATES.format(table="flow_run_state", owner="flow_run_id", owners="%(run_ids)s")
TASK_RUN_STATES = _STATES.format(table="task_run_state", owner="task_run_id", owners="%(task_ids)s")
_EMPTY_STATES = "update {table} set message = %(instead)s, data = null where id = any(%(ids)s::uuid[])"
EMPTY_FLOW_RUN_STATES = _EMPTY_STATES.format(table="flow_run_state")
EMPTY_TASK_RUN_STATES = _EMPTY_STATES.format(table="task_run_state")

EVENTS = """
    select id, resource::text || ' ' || payload::text as text from events
     where id in (select event_id from event_resources where resource_id = any(%(resources)s)) and id > %(after)s
     order by id limit %(limit)s
"""
EMPTY_EVENTS = """
    update events set payload = '{}', resource = jsonb_build_object('prefect.resource.id', resource_id)
     where id = any(%(ids)s::uuid[])
"""
EVENT_RESOURCES = """
    select id, resource::text as text from event_resources
     where event_id in (select event_id from event_resources where resource_id = any(%(resources)s)) and id > %(after)s
     order by id limit %(limit)s
"""
EMPTY_EVENT_RESOURCES = """
    update event_resources set resource = json_build_object('prefect.resource.id', resource_id)
     where id = any(%(ids)s::uuid[])
"""

INPUTS = """
    select id, value as text from flow_run_input where flow_run_id = any(%(run_ids)s::uuid[]) and id > %(after)s
     order by id limit %(limit)s
"""
REMOVE_INPUTS = "delete from flow_run_input where id = any(%(ids)s::uuid[])"

# Databases of this server that may be Prefect's, by the names that the local stack gives them.
CANDIDATES = """
    select datname::text as name from pg_database
     where datallowconn and not datistemplate and datname like '%%prefect' and has_database_privilege(oid, 'CONNECT')
     order by datname = current_database() || '_prefect' desc, datname = 'prefect' desc, datname
"""
HOME_CLUSTER = "select current_setting('data_directory', true) as directory, current_database()::text as name"
