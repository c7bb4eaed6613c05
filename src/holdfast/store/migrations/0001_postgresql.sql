-- The engine's tables on PostgreSQL 14 or later. docs/engine.md says what the columns mean.
-- Every hot table starts its primary key with `shard` (0 until there is more than one), so that the tables can be
-- distributed by it without a change to any statement. Payloads are `json`: kept to the letter, unlike `jsonb`.
-- There are no foreign keys: each would lock a second row in the hot path to prove what the fence proves already.

create schema if not exists holdfast;

create function holdfast.now_ms(given bigint) returns bigint language sql stable parallel safe
    return coalesce(given, floor(extract(epoch from statement_timestamp()) * 1000)::bigint);
comment on function holdfast.now_ms is 'The database''s time, or the one that a test gives. Rounded down: nothing is due too early.';

create function holdfast.now_rounded_up_ms(given bigint) returns bigint language sql stable parallel safe
    return coalesce(given, ceil(extract(epoch from statement_timestamp()) * 1000)::bigint);
comment on function holdfast.now_rounded_up_ms is 'The same, for delays that begin now: they last no less than they should.';

create function holdfast.may_answer(request json, opened_ms bigint, now_ms bigint, names text[]) returns boolean
    language sql immutable parallel safe
    return coalesce(json_array_length(request -> 'by'), 0) = 0
        or (request -> 'by')::jsonb ?| names
        or (opened_ms + (request ->> 'escalate_after_ms')::bigint <= now_ms
            and (request -> 'escalate_to')::jsonb ?| names);
comment on function holdfast.may_answer is 'Whether one of these names may answer an approval at that time.';

create function holdfast.refuse_continued(continued boolean) returns void language plpgsql volatile as $$
begin
    if continued then
        raise exception 'a run that is to be waited for has continued as another' using errcode = 'HF001';
    end if;
end $$;
comment on function holdfast.refuse_continued is 'The caller then looks for the last link of the chain.';

create table holdfast.runs (
    shard smallint not null,
    id uuid not null,
    tenant text not null,
    workflow text not null,
    version integer,
    definition_hash text,
    code text not null generated always as (
        case when definition_hash is null then workflow else workflow || '@' || left(definition_hash, 12) end) stored,
    queue text not null,
    status text not null,
    status_reason text not null,
    terminal_reason text,
    input json not null,
    result json,
    error json,
    key text,
    priority smallint not null default 0,
    root_id uuid not null,
    retry_of_id uuid,
    attempt integer not null default 1,
    forked_from_id uuid,
    chain_id uuid,
    link integer,
    continued_from_id uuid,
    continued_as_id uuid,
    parent_id uuid,
    parent_key text,
    parent_policy text not null default 'cancel',
    attributes jsonb not null default '{}',
    worker text,
    epoch bigint not null default 0,
    crashes integer not null default 0,
    suspect boolean not null default false,
    cancel_requested boolean not null default false,
    cancel_compensates boolean not null default false,
    pause_requested boolean not null default false,
    transition_seq bigint not null default 0,
    created_ms bigint not null,
    updated_ms bigint not null,
    ready_ms bigint,
    wake_ms bigint,
    kept_wake_ms bigint,
    aside_until_ms bigint,
    barred_by text,
    deadline_ms bigint,
    started_ms bigint,
    finalized_ms bigint,
    error_type text,
    error_message text,
    error_fingerprint text,
    primary key (shard, id),
    constraint runs_status check (status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    constraint runs_link check ((chain_id is null) = (link is null)),
    constraint runs_version check ((version is null) = (definition_hash is null)),
    constraint runs_parent_policy check (parent_policy in ('cancel', 'request', 'abandon')),
    constraint runs_claimable check (ready_ms is null or (worker is null and status in ('queued', 'compensating'))),
    constraint runs_barred_in_line check (barred_by is null or ready_ms is not null),
    constraint runs_held check (worker is null or status in ('running', 'compensating')),
    constraint runs_running check (status <> 'running' or worker is not null),
    constraint runs_wake check (wake_ms is null or (ready_ms is null and worker is null and finalized_ms is null)),
    constraint runs_final check ((finalized_ms is not null) = (status in ('completed', 'failed', 'cancelled', 'stuck')))
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

comment on table holdfast.runs is 'One execution of a workflow.';
comment on column holdfast.runs.code is 'What its worker must know: the functions name, or the graphs with its short hash.';
comment on column holdfast.runs.ready_ms is 'Its place in the line; null: nobody may claim it.';
comment on column holdfast.runs.barred_by is 'Which pause, quota or limit keeps it from being claimed, as the last claim found it.';
comment on column holdfast.runs.wake_ms is 'When time makes it claimable; null: never.';
comment on column holdfast.runs.epoch is 'The fencing token: raised by every claim and take-over.';

-- claim_runs, read_agenda: one line per (queue, code), suspects apart, in the order in which they are served.
create index runs_line on holdfast.runs (shard, queue, code, suspect, priority desc, ready_ms, id)
    where ready_ms is not null and barred_by is null;
-- claim_runs_readmit, read_agenda: one line per tenant and bar, and next to nothing without pauses and quotas.
create index runs_barred on holdfast.runs (shard, tenant, barred_by, priority desc, ready_ms, id)
    where barred_by is not null;
-- wake_due, read_agenda.
create index runs_wake on holdfast.runs (shard, wake_ms) where wake_ms is not null;
-- requeue_lost, retire_worker, read_agenda; claim_runs counts the places of a queue in it, worker by worker.
create index runs_held on holdfast.runs (shard, worker, tenant, queue) where worker is not null;
-- list_runs, count_runs: one look per status, merged.
create index runs_status on holdfast.runs (tenant, status, created_ms desc, id desc);
create index runs_workflow on holdfast.runs (tenant, workflow, status, created_ms desc, id desc);
create index runs_ended on holdfast.runs (tenant, finalized_ms desc, id desc) where finalized_ms is not null;
create index runs_root on holdfast.runs (root_id) where root_id <> id;
create index runs_error on holdfast.runs (tenant, error_type, created_ms desc, id desc) where error_type is not null;
create index runs_fingerprint on holdfast.runs (tenant, error_fingerprint, created_ms desc, id desc)
    where error_fingerprint is not null;
-- start_copy: one run per root and attempt; next to nothing for runs that were never retried.
-- The successor of a retry is of its attempt, and is no retry.
create unique index runs_attempt on holdfast.runs (shard, root_id, attempt) where retry_of_id is not null;
-- find_newest: the last link of a chain; next to nothing for runs that never continued.
create unique index runs_chain on holdfast.runs (shard, chain_id, link) where chain_id is not null;
-- list_runs of one parent.
create index runs_children on holdfast.runs (parent_id, created_ms desc, id desc) where parent_id is not null;
-- list_runs of one run's forks; next to nothing for runs that were never forked.
create index runs_forks on holdfast.runs (forked_from_id, created_ms desc, id desc) where forked_from_id is not null;
-- list_runs by key.
create index runs_key on holdfast.runs (tenant, key) where key is not null;

create table holdfast.journal (
    shard smallint not null,
    run_id uuid not null,
    key text not null,
    seq bigint not null,
    kind text not null,
    name text not null,
    status text not null,
    result json,
    error json,
    fingerprint text not null default '',
    input json,
    attempts integer not null default 1,
    epoch bigint not null,
    started_ms bigint not null,
    completed_ms bigint not null,
    settled_by text,
    primary key (shard, run_id, key),
    constraint journal_kind check (kind in (
        'step', 'value', 'child', 'compensation', 'patch', 'signal', 'published', 'emitted', 'reply')),
    constraint journal_status check (status in ('completed', 'failed'))
);
-- read_outputs.
create index journal_outputs on holdfast.journal (shard, run_id, kind, name, seq)
    where kind in ('published', 'emitted', 'reply');
comment on table holdfast.journal is 'The recorded outcomes of a run''s steps: written once.';

create table holdfast.waits (
    shard smallint not null,
    run_id uuid not null,
    key text not null,
    seq bigint not null,
    kind text not null,
    signal text,
    child_id uuid,
    due_ms bigint,
    epoch bigint not null,
    opened_ms bigint not null,
    outcome text,
    closed_ms bigint,
    result json,
    error json,
    child_status text,
    request json,
    note text,
    tenant text not null,
    answer_id uuid,
    primary key (shard, run_id, key),
    constraint waits_names_breaker check (kind <> 'breaker' or signal is not null),
    constraint waits_asks check (kind <> 'approval' or request is not null),
    constraint waits_kind check (kind in ('timer', 'signal', 'child', 'retry', 'approval', 'breaker')),
    constraint waits_child_status check (child_status in ('completed', 'failed', 'cancelled', 'stuck')),
    constraint waits_outcome check (outcome in ('elapsed', 'signalled', 'child_ended', 'answered', 'cancelled')),
    constraint waits_closed check ((outcome is null) = (closed_ms is null))
) with (fillfactor = 85);
comment on table holdfast.waits is 'What a run waits for; closed with exactly one outcome.';

-- Park, Finish, wake_due and a signal to one run.
create index waits_open on holdfast.waits (shard, run_id, seq) where outcome is null;
-- The end of a child.
create index waits_open_child on holdfast.waits (shard, child_id) where outcome is null and child_id is not null;
-- A signal to all who wait for it; a breaker.
create index waits_open_signal on holdfast.waits (shard, tenant, signal, run_id, seq)
    where outcome is null and signal is not null;
-- list_approvals.
create index waits_open_approval on holdfast.waits (tenant, opened_ms, run_id, key)
    where outcome is null and kind = 'approval';

create function holdfast.refused_leases(leases json, given_shard smallint, owned uuid[]) returns json
language sql stable as $$
    select json_object_agg(
               l.id, coalesce('the run is ' || r.status || ' at epoch ' || r.epoch, 'there is no such run'))
      from json_to_recordset(leases) as l (id uuid)
      left join lateral (
           select f.status, f.epoch
             from holdfast.runs f
            where f.shard = given_shard and f.id = l.id
            limit 1) r on true
     where l.id not in (select o.id from unnest(owned) as o (id))
$$;
comment on function holdfast.refused_leases is 'Why a commit leaves out those of these runs that it does not own.';

create table holdfast.attempts (
    shard smallint not null,
    run_id uuid not null,
    key text not null,
    attempt integer not null,
    error json not null,
    epoch bigint not null,
    started_ms bigint not null,
    ended_ms bigint not null,
    primary key (shard, run_id, key, attempt)
);
comment on table holdfast.attempts is 'Failed attempts of steps that were to be tried again.';

create table holdfast.signals (
    shard smallint not null,
    id uuid not null,
    tenant text not null,
    name text not null,
    run_id uuid,
    payload json not null,
    sent_ms bigint not null,
    consumed_ms bigint,
    wait_key text,
    expires_ms bigint,
    passed uuid,
    number bigint generated always as identity,
    primary key (shard, tenant, id)
);
comment on table holdfast.signals is 'Named messages; one to a single run is kept until it is consumed or expires.';
comment on column holdfast.signals.number is 'The order of arrival, whatever the clock does.';
comment on column holdfast.signals.passed is 'Under way: the last run that it was delivered to, nil before the first. Null: it has arrived.';

-- Opening a signal wait looks for the oldest signal kept for the run, and for all.
create index signals_kept on holdfast.signals (shard, run_id, name, number)
    where consumed_ms is null and run_id is not null;
create index signals_kept_for_all on holdfast.signals (shard, tenant, name, number)
    where consumed_ms is null and run_id is null;
-- sweep_signals, read_agenda; a signal to one run lets those go first that are under way.
create index signals_under_way on holdfast.signals (shard, number) where passed is not null;
create index signals_under_way_by_name on holdfast.signals (shard, tenant, name, number) where passed is not null;
create index signals_expiring on holdfast.signals (shard, expires_ms) where expires_ms is not null;

create table holdfast.receipts (
    shard smallint not null,
    signal_id uuid not null,
    run_id uuid not null,
    tenant text not null,
    wait_key text not null,
    consumed_ms bigint not null,
    primary key (shard, signal_id, run_id)
);
comment on table holdfast.receipts is 'Which runs have consumed a signal that is for all.';

-- The order of all runs' transitions: the id of the transaction that wrote them. Numbers of a sequence become visible out
-- of order; of transaction ids it is known which are all visible: those before the oldest that is still open.
create function holdfast.transition_base() returns bigint language sql immutable parallel safe return 0;
comment on function holdfast.transition_base is 'Raised by raise_transition_base.';
create function holdfast.transition_position() returns bigint language sql volatile parallel unsafe
    return pg_current_xact_id()::text::bigint + holdfast.transition_base();
comment on function holdfast.transition_position is 'Of what this transaction writes.';
create function holdfast.transition_horizon() returns bigint language sql stable parallel safe
    return pg_snapshot_xmin(pg_current_snapshot())::text::bigint + holdfast.transition_base();
comment on function holdfast.transition_horizon is 'Nothing more will become visible before this position.';
create function holdfast.transition_limit() returns bigint language sql stable parallel safe
    return pg_snapshot_xmax(pg_current_snapshot())::text::bigint + holdfast.transition_base();
comment on function holdfast.transition_limit is 'No transaction has had this position yet.';

create table holdfast.transitions (
    shard smallint not null,
    run_id uuid not null,
    seq bigint not null,
    from_status text,
    to_status text not null,
    reason text not null,
    key text,
    worker text,
    epoch bigint not null,
    at_ms bigint not null,
    actor text,
    note text,
    command_id uuid,
    moved json,
    position bigint not null default holdfast.transition_position(),
    primary key (shard, run_id, seq),
    constraint transitions_from check (from_status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    constraint transitions_to check (to_status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck'))
);
comment on table holdfast.transitions is 'The append-only log of a run''s moves: structural facts, never payloads.';
comment on column holdfast.transitions.position is 'Its place in the order of all; shared by what one transaction wrote.';

-- read_events of a tenant. One column and ascending: an insert appends, and equal positions share an entry.
create index transitions_position on holdfast.transitions (shard, position);
-- command, to a link of a chain: whether another one has obeyed it.
create index transitions_command on holdfast.transitions (shard, command_id) where command_id is not null;

-- migrate. A dump that is restored into another cluster brings positions that its transactions have not come to yet.
create function holdfast.raise_transition_base() returns void language plpgsql as $$
declare
    missing bigint;
begin
    select max(t.position) + 1 - holdfast.transition_position() into missing from holdfast.transitions t;
    if missing > 0 then
        execute format('create or replace function holdfast.transition_base() returns bigint language sql immutable '
                       'parallel safe return %s', holdfast.transition_base() + missing);
    end if;
end $$;
comment on function holdfast.raise_transition_base is 'From now on positions are higher than all that there are.';

create table holdfast.prunings (
    tenant text primary key,
    position bigint not null,
    pruned_ms bigint not null
);
comment on table holdfast.prunings is 'Up to which position transitions of a tenant were deleted: what a reader may have missed.';

create table holdfast.workers (
    id text primary key,
    queues text[] not null,
    codes text[] not null,
    lacks jsonb not null default '{}',
    host text not null,
    pid integer not null,
    version text not null,
    started_ms bigint not null,
    heartbeat_ms bigint not null,
    lease_until_ms bigint not null
) with (fillfactor = 50);
comment on table holdfast.workers is 'Worker processes and their leases.';

create table holdfast.attributes (
    shard smallint not null,
    run_id uuid not null,
    name text not null,
    tenant text not null,
    kind text not null,
    text text collate "C" not null default '',
    number double precision not null default 0,
    created_ms bigint not null,
    primary key (shard, run_id, name),
    constraint attributes_kind check (kind in ('text', 'number', 'bool', 'time'))
);
comment on table holdfast.attributes is 'Search attributes of runs.';
comment on column holdfast.attributes.number is 'The value unless it is a text: a number, 0 or 1, or milliseconds since 1970.';

-- list_runs by the value of an attribute, in order.
create index attributes_value on holdfast.attributes (tenant, name, kind, text, number, created_ms desc, run_id desc);

-- Bulk jobs: one command for many runs (store/bulk.py). Not hot, and without a shard. `action`, `filter` and `batch` are
-- text: documents that only the program reads.
create table holdfast.bulk_jobs (
    tenant text not null,
    id uuid not null,
    action text not null,
    filter text not null,
    query text not null,
    status text not null,
    expected bigint not null,
    done bigint not null default 0,
    failed bigint not null default 0,
    rate integer,
    actor text not null,
    note text not null,
    stopped_by text,
    batch text not null default '[]',
    cursor text,
    holder text,
    revision bigint not null default 0,
    created_ms bigint not null,
    updated_ms bigint not null,
    ended_ms bigint,
    next_ms bigint not null,
    held_until_ms bigint,
    primary key (tenant, id),
    constraint bulk_jobs_status check (status in ('running', 'done', 'stopped')),
    constraint bulk_jobs_ended check ((ended_ms is null) = (status = 'running')),
    constraint bulk_jobs_rate check (rate > 0)
);
comment on table holdfast.bulk_jobs is 'One command for all runs that a filter names, and how far it has come.';
comment on column holdfast.bulk_jobs.batch is 'The runs whose turn it is: recorded before anything is done to them.';

create index bulk_jobs_running on holdfast.bulk_jobs (next_ms) where status = 'running';
create index bulk_jobs_list on holdfast.bulk_jobs (tenant, created_ms desc, id desc);

create table holdfast.bulk_errors (
    tenant text not null,
    job_id uuid not null,
    run_id uuid not null,
    code text not null,
    message text not null,
    at_ms bigint not null,
    primary key (tenant, job_id, run_id)
);
comment on table holdfast.bulk_errors is 'Why runs did not obey a bulk job.';
-- They go with their run.
create index bulk_errors_run on holdfast.bulk_errors (run_id);

-- Schedules (store/schedules.py). Not hot, and without a shard. `document` and `input` are text: only the program reads
-- them.
create table holdfast.schedules (
    tenant text not null,
    name text not null,
    workflow text not null,
    document text not null,
    input text not null,
    declared_by text not null,
    next_ms bigint,
    due_ms bigint,
    queued_ms bigint,
    last_ms bigint,
    recent text not null default '[]',
    ticks bigint not null default 0,
    revision bigint not null default 0,
    problem text not null default '',
    paused_ms bigint,
    actor text not null,
    note text not null,
    created_ms bigint not null,
    changed_ms bigint not null,
    primary key (tenant, name),
    constraint schedules_due check (due_ms is not null or (next_ms is null and queued_ms is null)),
    constraint schedules_paused check (paused_ms is null or due_ms is null)
);
comment on table holdfast.schedules is 'What starts runs by the clock.';
comment on column holdfast.schedules.next_ms is 'The next slot. Whoever moves it starts the run of the slot, in one transaction.';
comment on column holdfast.schedules.due_ms is 'When to look next; null: never.';
comment on column holdfast.schedules.recent is 'The runs that it started last: one that is under way is among them.';
comment on column holdfast.schedules.queued_ms is 'The slot that waits for the end of a run.';

create index schedules_due_ms on holdfast.schedules (due_ms) where due_ms is not null;

-- Circuit breakers (store/breakers.py). Not hot, and without a shard.
create table holdfast.breakers (
    tenant text not null,
    name text not null,
    state text not null,
    term bigint not null,
    failures text not null,
    trips integer not null,
    opened_ms bigint,
    retry_ms bigint,
    prober text,
    probe_until_ms bigint,
    flow integer not null,
    flow_ms bigint,
    rate integer not null,
    passed uuid,
    next_ms bigint,
    revision bigint not null,
    changed_ms bigint not null,
    actor text not null,
    note text not null,
    primary key (tenant, name),
    constraint breakers_state check (state in ('closed', 'open', 'half_open')),
    constraint breakers_opened check ((opened_ms is null) = (state = 'closed')),
    constraint breakers_prober check ((state = 'half_open') = (prober is not null and probe_until_ms is not null))
);
comment on table holdfast.breakers is 'Circuit breakers: whether the calls that name one are made.';
comment on column holdfast.breakers.term is 'Raised whenever the state changes and whenever a probe begins; what comes of a call counts in its own term alone.';
comment on column holdfast.breakers.flow is 'Of a closed one: how many waits for it end per second now.';
comment on column holdfast.breakers.passed is 'The last run whose wait was ended; the next one stands behind it.';
comment on column holdfast.breakers.next_ms is 'When to look next; null: when a call or a person comes.';

create index breakers_next_ms on holdfast.breakers (next_ms) where next_ms is not null;

create table holdfast.schedule_ticks (
    tenant text not null,
    schedule text not null,
    number bigint not null,
    slot_ms bigint not null,
    until_ms bigint not null,
    slots integer,
    cause text not null,
    outcome text not null,
    started_run_id uuid,
    at_ms bigint not null,
    primary key (tenant, schedule, number),
    constraint schedule_ticks_cause check (cause in ('slot', 'trigger', 'backfill')),
    constraint schedule_ticks_outcome check (outcome in ('started', 'queued', 'skipped', 'missed')),
    constraint schedule_ticks_run check ((started_run_id is not null) = (outcome = 'started'))
);
comment on table holdfast.schedule_ticks is 'What came of the slots of schedules: the newest entries of each.';
comment on column holdfast.schedule_ticks.slots is 'How many slots from slot_ms to until_ms; null: more than anybody counted.';

create function holdfast.attribute_rows(attributes jsonb)
returns table (name text, kind text, text text, number double precision)
language sql immutable parallel safe as $$
    select a.key,
           case jsonb_typeof(a.value)
                when 'string' then 'text' when 'number' then 'number' when 'boolean' then 'bool' else 'time' end,
           case when jsonb_typeof(a.value) = 'string' then a.value #>> '{}' else '' end,
           case jsonb_typeof(a.value)
                when 'number' then (a.value #>> '{}')::double precision
                when 'boolean' then case when a.value = 'true' then 1 else 0 end
                when 'object' then (a.value ->> 'at_ms')::double precision
                else 0 end
      from jsonb_each(attributes) a
$$;
comment on function holdfast.attribute_rows is 'The attributes of a run as rows of their index.';


-- Not hot, and without a shard: written once for both databases over Store.transact (store/catalog.py). `document` is
-- text: the bytes that were hashed.
create table holdfast.definitions (
    tenant text not null,
    workflow text not null,
    version integer not null,
    hash text collate "C" not null,
    document text not null,
    source text not null,
    created_by text not null default '',
    created_ms bigint not null,
    primary key (tenant, workflow, version),
    constraint definitions_version check (version >= 1),
    constraint definitions_hash_length check (length(hash) = 64)
);
comment on table holdfast.definitions is 'Versions of graphs: written once, numbered per tenant and workflow.';

-- Equal content is one version; and a worker looks for the code that a line names.
create unique index definitions_hash on holdfast.definitions (workflow, hash, tenant);

create table holdfast.releases (
    tenant text not null,
    workflow text not null,
    name text not null,
    number integer not null,
    version integer not null,
    kind text not null,
    moved_by text not null default '',
    moved_ms bigint not null,
    primary key (tenant, workflow, name, number),
    constraint releases_number check (number >= 1),
    constraint releases_version check (version >= 1),
    constraint releases_kind check (kind in ('go_live', 'promote', 'restore'))
);
comment on table holdfast.releases is 'Movable names for versions, with every move: the last entry of a name holds.';

create function holdfast.refuse_change() returns trigger language plpgsql as
    $$ begin raise exception '% is append-only', tg_table_name using errcode = 'check_violation'; end $$;
comment on function holdfast.refuse_change is 'What is written once is never changed, by whoever it may be.';

create trigger definitions_immutable before update on holdfast.definitions
    for each row execute function holdfast.refuse_change();
create trigger releases_append_only before update on holdfast.releases
    for each row execute function holdfast.refuse_change();

-- The editor's side: projects and who may do what in them, drawn workflows, drafts, triggers. None of it is hot.
create table holdfast.projects (
    tenant text not null,
    id uuid not null,
    name text not null,
    created_by text not null,
    created_ms bigint not null,
    primary key (tenant, id),
    constraint projects_name unique (tenant, name)
);
comment on table holdfast.projects is 'Folders of workflows.';

create table holdfast.members (
    tenant text not null,
    project_id uuid not null,
    subject text not null,
    role text not null,
    added_by text not null,
    added_ms bigint not null,
    primary key (tenant, project_id, subject),
    constraint members_role check (role in ('viewer', 'editor', 'admin', 'owner'))
);
comment on table holdfast.members is 'Who may do what in a project.';

-- A project has one owner.
create unique index members_owner on holdfast.members (tenant, project_id) where role = 'owner';
-- The projects of one person.
create index members_of on holdfast.members (tenant, subject);

create table holdfast.workflows (
    tenant text not null,
    id uuid not null,
    project_id uuid not null,
    name text not null,
    head integer not null default 0,
    newest integer not null default 0,
    saved_by text not null,
    saved_ms bigint not null,
    created_by text not null,
    created_ms bigint not null,
    deleted_ms bigint,
    primary key (tenant, id),
    constraint workflows_name unique (tenant, name),
    constraint workflows_head check (head between 0 and newest)
);
comment on table holdfast.workflows is 'Workflows drawn in a project; their versions are definitions of the same name.';
comment on column holdfast.workflows.head is 'The version that the last save left; 0 only within the transaction of the first one.';
comment on column holdfast.workflows.newest is 'The highest version known to that save: a higher one was stored by a program.';

create index workflows_list on holdfast.workflows (tenant, project_id, name);

create table holdfast.drafts (
    tenant text not null,
    workflow_id uuid not null,
    project_id uuid not null,
    base_version integer not null,
    revision integer not null,
    document text not null,
    updated_by text not null,
    updated_ms bigint not null,
    primary key (tenant, workflow_id),
    constraint drafts_base check (base_version >= 0),
    constraint drafts_revision check (revision >= 1)
);
comment on table holdfast.drafts is 'The edited graph of a workflow, before it is saved as a version.';

create table holdfast.triggers (
    tenant text not null,
    id uuid not null,
    project_id uuid not null,
    workflow_id uuid not null,
    name text not null,
    kind text not null,
    enabled boolean not null,
    path text,
    document text not null,
    revision integer not null,
    updated_by text not null,
    updated_ms bigint not null,
    primary key (tenant, id),
    constraint triggers_name unique (tenant, workflow_id, name),
    constraint triggers_path unique (tenant, path),
    constraint triggers_kind check (kind in ('webhook', 'schedule', 'event', 'manual')),
    constraint triggers_webhook check ((path is not null) = (kind = 'webhook'))
);
comment on table holdfast.triggers is 'What starts runs of a drawn workflow. Secrets are named, never held.';

create table holdfast.audit (
    number bigint generated always as identity primary key,
    tenant text not null,
    project_id uuid not null,
    workflow_id uuid,
    subject text not null,
    action text not null,
    facts text not null,
    at_ms bigint not null
);
comment on table holdfast.audit is 'Who did what in a project: structural facts, never documents or payloads.';

create index audit_list on holdfast.audit (tenant, project_id, number);

create trigger audit_append_only before update on holdfast.audit
    for each row execute function holdfast.refuse_change();

create table holdfast.tenants (
    tenant text primary key,
    queued_max bigint,
    running_max bigint,
    payload_bytes_max bigint,
    stored_bytes_max bigint,
    retention_ms bigint,
    changed_ms bigint not null,
    constraint tenants_limits check (
        least(queued_max, running_max, payload_bytes_max, stored_bytes_max, retention_ms, 0) >= 0)
);
comment on table holdfast.tenants is 'What an operator decided about a tenant; one without a row has no limits.';
comment on column holdfast.tenants.running_max is 'Of runs that workers hold: more are not claimed.';
-- claim_runs: whether it has to count at all.
create index tenants_limited on holdfast.tenants (tenant) where running_max is not null;

create table holdfast.byte_accounts (
    tenant text primary key,
    stored_bytes bigint not null default 0,
    counted_ms bigint,
    next_ms bigint not null
);
comment on table holdfast.byte_accounts is 'How many bytes of payloads tenants with stored_bytes_max had when they were counted last.';
comment on column holdfast.byte_accounts.next_ms is 'When they are to be counted again; whoever begins moves it on.';

create function holdfast.find_overflow(asked text) returns text language sql stable as $$
    select json_build_array('stored_bytes', t.stored_bytes_max, a.stored_bytes)::text
      from holdfast.tenants t
      join holdfast.byte_accounts a on a.tenant = t.tenant
     where t.tenant = asked and a.stored_bytes > t.stored_bytes_max
$$;
comment on function holdfast.find_overflow is 'The quota of stored bytes that the tenant has passed: its name, its limit, what it has.';

create table holdfast.pauses (
    tenant text not null,
    bar text not null,
    kind text not null,
    name text not null,
    recalls boolean not null,
    since_ms bigint not null,
    actor text not null default '',
    note text not null default '',
    primary key (tenant, bar),
    constraint pauses_kind check (kind in ('queue', 'workflow', 'tenant')),
    constraint pauses_bar check (bar = case kind when 'tenant' then kind else kind || ':' || name end)
);
comment on table holdfast.pauses is 'What a tenant has paused: such runs are not claimed.';
comment on column holdfast.pauses.recalls is 'Workers give back the runs of it that they hold.';

create table holdfast.queues (
    tenant text not null,
    queue text not null,
    running_max bigint not null,
    set_ms bigint not null,
    actor text not null default '',
    note text not null default '',
    primary key (tenant, queue),
    constraint queues_running_max check (running_max >= 0)
);
comment on table holdfast.queues is 'How many runs of a tenant''s queue workers may hold; one without a row has no limit.';

create function holdfast.count_held(asked text, given_shard smallint) returns bigint language sql stable
    return (select count(*)
              from holdfast.runs r
             where r.tenant = asked and r.status in ('running', 'compensating') and r.shard = given_shard
               and r.worker is not null);
comment on function holdfast.count_held is 'How many runs of the tenant workers hold.';

-- Leaps over runs_held from one holder to the next; of each, only the runs of this queue are read.
create function holdfast.count_places(asked text, given_queue text, given_shard smallint) returns bigint
language plpgsql stable as $$
begin
    return (
        with recursive holders (worker) as (
            (select r.worker
               from holdfast.runs r
              where r.shard = given_shard and r.worker is not null
              order by r.worker
              limit 1)
            union all
            (select (select r.worker
                       from holdfast.runs r
                      where r.shard = given_shard and r.worker > h.worker
                      order by r.worker
                      limit 1)
               from holders h
              where h.worker is not null)
        )
        select coalesce(sum(p.places), 0)
          from holders h
         cross join lateral (
               select count(*) as places
                 from holdfast.runs r
                where r.shard = given_shard and r.worker = h.worker and r.tenant = asked and r.queue = given_queue) p
         where h.worker is not null);
end $$;
comment on function holdfast.count_places is 'How many runs of the tenant''s queue workers hold.';

-- claim_runs_readmit, read_agenda. Leaps over runs_barred from one tenant and bar to the next.
create function holdfast.open_bars(given_shard smallint, queues text[], most bigint)
returns table (tenant text, bar text, room bigint) language sql stable rows 10 as $$
    with recursive bar (tenant, bar) as (
        (select r.tenant, r.barred_by
           from holdfast.runs r
          where r.shard = given_shard and r.barred_by is not null
          order by r.tenant, r.barred_by
          limit 1)
        union all
        select n.tenant, n.barred_by
          from bar b
         cross join lateral (
               select r.tenant, r.barred_by
                 from holdfast.runs r
                where r.shard = given_shard and r.barred_by is not null
                  and (r.tenant, r.barred_by) > (b.tenant, b.bar)
                order by r.tenant, r.barred_by
                limit 1) n
    ), rooms (tenant, bar, room) as (
        select b.tenant, b.bar,
               case when left(b.bar, 6) not in ('quota:', 'limit:') then most
                    else least(most, (
                         select t.running_max - holdfast.count_held(t.tenant, given_shard)
                           from holdfast.tenants t
                          where t.tenant = b.tenant), (
                         select q.running_max - holdfast.count_places(q.tenant, q.queue, given_shard)
                           from holdfast.queues q
                          where q.tenant = b.tenant and q.queue = substr(b.bar, 7))) end
          from bar b
         where not exists (select from holdfast.pauses p where p.tenant = b.tenant and p.bar = b.bar)
           and (left(b.bar, 6) not in ('quota:', 'limit:') or substr(b.bar, 7) = any(queues))
    )
    select g.tenant, g.bar, g.room from rooms g where g.room > 0
$$;
comment on function holdfast.open_bars is 'What bars runs by their rows and not any more in truth, and how many may go on.';

-- claim_runs. How many more runs of each of these tenants, and of each of these queues, may be claimed. Claims that meet
-- the same ones pass here one after the other, until the end of their transactions: all take their locks in the order
-- given. A statement in a function sees what others committed while it waited.
create function holdfast.claim_rooms(limited_tenants text[], limited_queues holdfast.queues[], given_shard smallint)
returns table (tenant text, queue text, room bigint) language plpgsql rows 10 as $$
declare
    one text;
    place holdfast.queues;
begin
    foreach one in array limited_tenants loop
        perform pg_advisory_xact_lock(hashtextextended('holdfast claims ' || one, 0));
    end loop;
    foreach place in array limited_queues loop
        perform pg_advisory_xact_lock(hashtextextended(json_build_array(place.tenant, place.queue)::text, 1));
    end loop;
    return query
        select t.tenant, null::text, t.running_max - holdfast.count_held(t.tenant, given_shard)
          from holdfast.tenants t
         where t.tenant = any(limited_tenants) and t.running_max is not null
         union all
        select q.tenant, q.queue, q.running_max - holdfast.count_places(q.tenant, q.queue, given_shard)
          from unnest(limited_queues) l
          join holdfast.queues q on q.tenant = l.tenant and q.queue = l.queue;
end $$;
comment on function holdfast.claim_rooms is 'How many more runs of each of these tenants and queues may be claimed.';

-- start_runs. Holds the tenant's row until the start commits, so that two starts cannot both take the last place; a
-- statement in a function sees what others committed while it waited for that row.
create function holdfast.find_excess(asked text, given_shard smallint, ids uuid[], bytes bigint) returns text
language plpgsql as $$
declare
    quota holdfast.tenants;
    found bigint;
    fresh bigint;
begin
    select t.* into quota from holdfast.tenants t where t.tenant = asked for update;
    select count(*) into fresh
      from unnest(ids) d (id)
     where not exists (select from holdfast.runs r where r.shard = given_shard and r.id = d.id);
    if fresh = 0 then
        return null;
    end if;
    if bytes > quota.payload_bytes_max then
        return json_build_array('payload_bytes', quota.payload_bytes_max, bytes);
    end if;
    if quota.stored_bytes_max is not null and holdfast.find_overflow(asked) is not null then
        return holdfast.find_overflow(asked);
    end if;
    if quota.queued_max is not null then
        select count(*) into found from holdfast.runs r where r.tenant = asked and r.status = 'queued';
        if found + fresh > quota.queued_max then
            return json_build_array('queued', quota.queued_max, found + fresh);
        end if;
    end if;
    return null;
end $$;
comment on function holdfast.find_excess is 'Which quota these runs would exceed: its name, its limit, what it would be.';

-- Closing events: who is to be told of the ends of which runs, and the ends that nobody has acknowledged yet. The row
-- of an end is written by the statement that ends the run (commit_finish, command_move, requeue_lost), for those who
-- are subscribed then; everything else is written once for both databases over Store.transact (store/outbox.py).
create table holdfast.subscriptions (
    tenant text not null,
    workflow text not null,
    name text not null,
    created_ms bigint not null,
    primary key (tenant, workflow, name)
);
comment on table holdfast.subscriptions is 'Who is to be told of the ends of which runs.';
comment on column holdfast.subscriptions.tenant is 'Empty for the handlers of programs, which serve every tenant.';
comment on column holdfast.subscriptions.workflow is 'Empty for every workflow.';

create table holdfast.outbox (
    shard smallint not null,
    run_id uuid not null,
    seq integer not null,
    subscription text not null,
    tenant text not null,
    workflow text not null,
    key text,
    status text not null,
    reason text not null,
    error_type text,
    error_message text,
    failed json not null,
    ended_ms bigint not null,
    lease_until_ms bigint not null default 0,
    deliveries integer not null default 0,
    primary key (shard, run_id, seq, subscription),
    constraint outbox_status check (status in ('completed', 'failed', 'cancelled', 'stuck'))
);
comment on table holdfast.outbox is 'Ends of runs, one row per subscription, until they are acknowledged.';
comment on column holdfast.outbox.seq is 'Of the transition that ended the run: one that was set aside may end again.';
comment on column holdfast.outbox.failed is 'Keys of the steps and children whose recorded outcome is a failure.';
-- Readers of one tenant, and the handlers of programs, which take all tenants.
create index outbox_line on holdfast.outbox (subscription, tenant, ended_ms, run_id);
create index outbox_handlers on holdfast.outbox (subscription, ended_ms, run_id);

create function holdfast.failed_steps(given_shard smallint, given_run uuid) returns json language sql stable as $$
    select coalesce(json_agg(f.key order by f.key collate "C"), '[]'::json)
      from (select j.key
              from holdfast.journal j
             where j.shard = given_shard and j.run_id = given_run and j.status = 'failed' and j.kind = 'step'
             union
            select w.key
              from holdfast.waits w
             where w.shard = given_shard and w.run_id = given_run and w.outcome = 'child_ended'
               and w.child_status <> 'completed') f
$$;
comment on function holdfast.failed_steps is 'Keys of the steps and children of a run whose recorded outcome is a failure.';

-- A function, because a part of a statement that finds nothing to do still costs its beginning: a fifth of commit_end.
create function holdfast.tell_end(ended holdfast.runs, entries json) returns boolean language plpgsql as $$
begin
    insert into holdfast.outbox (
           shard, run_id, seq, subscription, tenant, workflow, key, status, reason, error_type, error_message, failed,
           ended_ms)
    select ended.shard, ended.id, ended.transition_seq, u.name, ended.tenant, ended.workflow, ended.key, ended.status,
           ended.terminal_reason, ended.error_type, ended.error_message,
           (select coalesce(json_agg(k.key order by k.key collate "C"), '[]'::json)
              from (select j.key
                      from json_array_elements_text(holdfast.failed_steps(ended.shard, ended.id)) as j (key)
                     union
                    select e.key
                      from json_to_recordset(entries) as e (run_id uuid, key text, kind text, status text)
                     where e.run_id = ended.id and e.kind = 'step' and e.status = 'failed') k),
           ended.updated_ms
      from (select distinct s.name
              from holdfast.subscriptions s
             where s.tenant in ('', ended.tenant) and s.workflow in ('', ended.workflow)) u
        on conflict do nothing;
    return true;
end $$;
comment on function holdfast.tell_end is
    'Record an end for those who are subscribed. entries: what the same statement may only be about to record.';

-- The log is append-only. Rows go when their run has gone, by retention and erasure, which delete the run first.
create function holdfast.refuse_deletion() returns trigger language plpgsql as $$
begin
    if exists (select from holdfast.runs r where r.shard = old.shard and r.id = old.run_id) then
        raise exception '% is append-only while its run is there', tg_table_name using errcode = 'check_violation';
    end if;
    return old;
end $$;
create trigger transitions_append_only before update on holdfast.transitions
    for each row execute function holdfast.refuse_change();
create trigger transitions_kept before delete on holdfast.transitions
    for each row execute function holdfast.refuse_deletion();
create trigger transitions_never_emptied before truncate on holdfast.transitions
    for each statement execute function holdfast.refuse_change();
