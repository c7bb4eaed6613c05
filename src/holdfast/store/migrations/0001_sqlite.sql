-- The first tables, for SQLite. docs/engine.md says what each column means and when it is set.
-- A file is one shard: `shard` is always 0 here, and costs no byte in a row or an index.
-- Every index below serves one port method; the partial ones hold only the rows that are in that state now.

create table holdfast_runs (
    shard integer not null default 0,
    id text not null,
    tenant text not null,
    workflow text not null,
    version integer,
    definition_hash text,
    code text not null,
    queue text not null,
    status text not null check (status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    status_reason text not null,
    terminal_reason text,
    input text not null check (json_valid(input)),
    result text check (result is null or json_valid(result)),
    error text check (error is null or json_valid(error)),
    key text,
    priority integer not null default 0 check (priority between -1000 and 1000),
    root_id text not null,
    retry_of_id text,
    attempt integer not null default 1 check (attempt >= 1),
    forked_from_id text,
    chain_id text,
    link integer check (link >= 1),
    continued_from_id text,
    continued_as_id text,
    parent_id text,
    parent_key text,
    parent_policy text not null default 'cancel' check (parent_policy in ('cancel', 'request', 'abandon')),
    attributes text not null default '{}',
    worker text,
    epoch integer not null default 0 check (epoch >= 0),
    crashes integer not null default 0 check (crashes >= 0),
    suspect integer not null default 0 check (suspect in (0, 1)),
    cancel_requested integer not null default 0 check (cancel_requested in (0, 1)),
    cancel_compensates integer not null default 0 check (cancel_compensates in (0, 1)),
    pause_requested integer not null default 0 check (pause_requested in (0, 1)),
    transition_seq integer not null default 1,
    created_ms integer not null,
    updated_ms integer not null,
    ready_ms integer,
    wake_ms integer,
    kept_wake_ms integer,
    aside_until_ms integer,
    barred_by text,
    deadline_ms integer,
    started_ms integer,
    finalized_ms integer,
    error_type text,
    error_message text,
    error_fingerprint text,
    primary key (shard, id),
    -- Not a generated column: an index on one is never covering.
    constraint code_is_workflow_and_hash check (code = case when definition_hash is null
        then workflow else workflow || '@' || substr(definition_hash, 1, 12) end),
    constraint chain_has_links check ((chain_id is null) = (link is null)),
    constraint version_has_hash check ((version is null) = (definition_hash is null)),
    constraint in_line_means_unheld check (ready_ms is null or (status in ('queued', 'compensating') and worker is null)),
    constraint barred_means_in_line check (barred_by is null or ready_ms is not null),
    constraint held_means_held_status check (worker is null or status in ('running', 'compensating')),
    constraint running_means_held check (status <> 'running' or worker is not null),
    constraint ended_means_finalized check (
        (status in ('completed', 'failed', 'cancelled', 'stuck')) = (finalized_ms is not null)),
    constraint ended_means_unwoken check (finalized_ms is null or wake_ms is null)
) strict, without rowid;

-- claim_runs, read_agenda, read_detail (how many are ahead): one line per (queue, code), suspects apart, in the order
-- in which they are served, so that no claim walks through runs that its worker does not know or must leave
-- (the last column makes it covering)
create index holdfast_runs_line on holdfast_runs (shard, queue, code, suspect, priority desc, ready_ms, id, barred_by)
where ready_ms is not null and barred_by is null;
-- claim_runs, read_agenda: one line per tenant and bar, and next to nothing without pauses and quotas
create index holdfast_runs_barred on holdfast_runs (shard, tenant, barred_by, priority desc, ready_ms, id) where barred_by is not null;
-- wake_due, read_agenda
create index holdfast_runs_wake on holdfast_runs (shard, wake_ms) where wake_ms is not null;
-- requeue_lost, retire_worker, read_agenda; claim_runs counts the places of a queue in it, worker by worker
create index holdfast_runs_worker on holdfast_runs (shard, worker, tenant, queue) where worker is not null;
-- commit: which runs it has to report; next to always empty
create index holdfast_runs_cancel on holdfast_runs (shard, id) where cancel_requested = 1 and worker is not null;
-- list_runs, count_runs: one look per status, merged
create index holdfast_runs_status on holdfast_runs (tenant, status, created_ms desc, id desc);
create index holdfast_runs_workflow on holdfast_runs (tenant, workflow, status, created_ms desc, id desc);
create index holdfast_runs_ended on holdfast_runs (tenant, finalized_ms desc, id desc) where finalized_ms is not null;
create index holdfast_runs_root on holdfast_runs (root_id) where root_id <> id;
create index holdfast_runs_error on holdfast_runs (tenant, error_type, created_ms desc, id desc) where error_type is not null;
create index holdfast_runs_fingerprint on holdfast_runs (tenant, error_fingerprint, created_ms desc, id desc)
    where error_fingerprint is not null;
-- start_copy: one run per root and attempt; next to nothing for runs that were never retried
-- (the successor of a retry is of its attempt, and is no retry)
create unique index holdfast_runs_attempt on holdfast_runs (shard, root_id, attempt) where retry_of_id is not null;
-- find_newest: the last link of a chain; next to nothing for runs that never continued
create unique index holdfast_runs_chain on holdfast_runs (shard, chain_id, link) where chain_id is not null;
create index holdfast_runs_parent on holdfast_runs (parent_id, created_ms desc, id desc) where parent_id is not null;
create index holdfast_runs_forks on holdfast_runs (forked_from_id, created_ms desc, id desc) where forked_from_id is not null;
create index holdfast_runs_key on holdfast_runs (tenant, key) where key is not null;

create table holdfast_journal (
    shard integer not null default 0,
    run_id text not null,
    key text not null,
    seq integer not null check (seq >= 1),
    kind text not null check (kind in (
        'step', 'value', 'child', 'compensation', 'patch', 'signal', 'published', 'emitted', 'reply')),
    name text not null,
    status text not null check (status in ('completed', 'failed')),
    result text check (result is null or json_valid(result)),
    error text check (error is null or json_valid(error)),
    fingerprint text not null default '',
    input text check (input is null or json_valid(input)),
    attempts integer not null default 1,
    epoch integer not null,
    started_ms integer not null,
    completed_ms integer not null,
    settled_by text,
    primary key (shard, run_id, key)
) strict, without rowid;

-- read_outputs
create index holdfast_journal_outputs on holdfast_journal (shard, run_id, kind, name, seq)
where kind in ('published', 'emitted', 'reply');

create table holdfast_waits (
    shard integer not null default 0,
    run_id text not null,
    key text not null,
    seq integer not null check (seq >= 1),
    kind text not null check (kind in ('timer', 'signal', 'child', 'retry', 'approval', 'breaker')),
    signal text,
    child_id text,
    due_ms integer,
    epoch integer not null,
    opened_ms integer not null,
    outcome text check (outcome in ('elapsed', 'signalled', 'child_ended', 'answered', 'cancelled')),
    closed_ms integer,
    result text,
    error text,
    child_status text check (child_status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    request text check (request is null or json_valid(request)),
    note text,
    tenant text not null,
    answer_id text,
    primary key (shard, run_id, key),
    constraint closed_means_outcome check ((outcome is null) = (closed_ms is null)),
    constraint signal_wait_names_signal check (kind <> 'signal' or signal is not null),
    constraint breaker_wait_names_breaker check (kind <> 'breaker' or signal is not null),
    constraint approval_asks check (kind <> 'approval' or request is not null),
    constraint child_wait_names_child check (kind <> 'child' or child_id is not null)
) strict, without rowid;

-- commit (Park counts, Finish closes), wake_due
create index holdfast_waits_open on holdfast_waits (shard, run_id, due_ms) where outcome is null;
-- commit (Finish), command: who waits for this child
create index holdfast_waits_child on holdfast_waits (shard, child_id) where outcome is null and child_id is not null;
-- send_signal, to one run and to all
create index holdfast_waits_signal on holdfast_waits (shard, tenant, signal, run_id, seq) where outcome is null and signal is not null;
-- list_approvals
create index holdfast_waits_approval on holdfast_waits (tenant, opened_ms, run_id, key) where outcome is null and kind = 'approval';

create table holdfast_attempts (
    shard integer not null default 0,
    run_id text not null,
    key text not null,
    attempt integer not null check (attempt >= 1),
    error text not null check (json_valid(error)),
    epoch integer not null,
    started_ms integer not null,
    ended_ms integer not null,
    primary key (shard, run_id, key, attempt)
) strict, without rowid;

-- With a rowid, which says what came first, whatever the clock does.
create table holdfast_signals (
    shard integer not null default 0,
    id text not null,
    tenant text not null,
    name text not null,
    run_id text,
    payload text not null check (json_valid(payload)),
    sent_ms integer not null,
    consumed_ms integer,
    wait_key text,
    expires_ms integer,
    passed text,
    primary key (shard, tenant, id)
) strict;

-- commit: the kept signals of a run, oldest first (an index ends with the rowid)
create index holdfast_signals_kept on holdfast_signals (shard, run_id, name) where consumed_ms is null and run_id is not null;
-- commit: the signals kept for all
create index holdfast_signals_kept_for_all on holdfast_signals (shard, tenant, name) where consumed_ms is null and run_id is null;
-- sweep_signals, read_agenda, send_signal: under way, with the last run that it was delivered to
create index holdfast_signals_under_way on holdfast_signals (shard, passed) where passed is not null;
create index holdfast_signals_under_way_by_name on holdfast_signals (shard, tenant, name) where passed is not null;
create index holdfast_signals_expiring on holdfast_signals (shard, expires_ms) where expires_ms is not null;

create table holdfast_receipts (
    shard integer not null default 0,
    signal_id text not null,
    run_id text not null,
    tenant text not null,
    wait_key text not null,
    consumed_ms integer not null,
    primary key (shard, signal_id, run_id)
) strict, without rowid;

create table holdfast_transitions (
    position integer primary key autoincrement, -- the order of all runs' transitions; never used twice
    shard integer not null default 0,
    run_id text not null,
    seq integer not null,
    from_status text check (from_status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    to_status text not null check (to_status in (
        'queued', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed', 'cancelled', 'stuck')),
    reason text not null,
    key text,
    worker text,
    epoch integer not null default 0,
    at_ms integer not null,
    actor text,
    note text,
    command_id text,
    moved text check (moved is null or json_valid(moved)),
    unique (shard, run_id, seq)
) strict;
-- command, to a link of a chain: whether another one has obeyed it
create index holdfast_transitions_command on holdfast_transitions (command_id) where command_id is not null;

-- Bulk jobs: one command for many runs (store/bulk.py).
create table holdfast_bulk_jobs (
    tenant text not null,
    id text not null,
    action text not null,
    filter text not null,
    query text not null,
    status text not null check (status in ('running', 'done', 'stopped')),
    expected integer not null,
    done integer not null default 0,
    failed integer not null default 0,
    rate integer check (rate > 0),
    actor text not null,
    note text not null,
    stopped_by text,
    batch text not null default '[]',
    cursor text,
    holder text,
    revision integer not null default 0,
    created_ms integer not null,
    updated_ms integer not null,
    ended_ms integer,
    next_ms integer not null,
    held_until_ms integer,
    primary key (tenant, id),
    check ((ended_ms is null) = (status = 'running'))
) strict, without rowid;

create index holdfast_bulk_jobs_running on holdfast_bulk_jobs (next_ms) where status = 'running';
create index holdfast_bulk_jobs_list on holdfast_bulk_jobs (tenant, created_ms desc, id desc);

create table holdfast_bulk_errors (
    tenant text not null,
    job_id text not null,
    run_id text not null,
    code text not null,
    message text not null,
    at_ms integer not null,
    primary key (tenant, job_id, run_id)
) strict, without rowid;
-- They go with their run.
create index holdfast_bulk_errors_run on holdfast_bulk_errors (run_id);

-- Schedules (store/schedules.py).
create table holdfast_schedules (
    tenant text not null,
    name text not null,
    workflow text not null,
    document text not null,
    input text not null,
    declared_by text not null,
    next_ms integer,
    due_ms integer,
    queued_ms integer,
    last_ms integer,
    recent text not null default '[]',
    ticks integer not null default 0,
    revision integer not null default 0,
    problem text not null default '',
    paused_ms integer,
    actor text not null,
    note text not null,
    created_ms integer not null,
    changed_ms integer not null,
    primary key (tenant, name),
    check (due_ms is not null or (next_ms is null and queued_ms is null)),
    check (paused_ms is null or due_ms is null)
) strict, without rowid;

create index holdfast_schedules_due_ms on holdfast_schedules (due_ms) where due_ms is not null;

-- Circuit breakers (store/breakers.py).
create table holdfast_breakers (
    tenant text not null,
    name text not null,
    state text not null check (state in ('closed', 'open', 'half_open')),
    term integer not null,
    failures text not null,
    trips integer not null,
    opened_ms integer,
    retry_ms integer,
    prober text,
    probe_until_ms integer,
    flow integer not null,
    flow_ms integer,
    rate integer not null,
    passed text,
    next_ms integer,
    revision integer not null,
    changed_ms integer not null,
    actor text not null,
    note text not null,
    primary key (tenant, name),
    constraint closed_is_not_opened check ((opened_ms is null) = (state = 'closed')),
    constraint half_open_has_prober check ((state = 'half_open') = (prober is not null and probe_until_ms is not null))
) strict, without rowid;

create index holdfast_breakers_next_ms on holdfast_breakers (next_ms) where next_ms is not null;

create table holdfast_schedule_ticks (
    tenant text not null,
    schedule text not null,
    number integer not null,
    slot_ms integer not null,
    until_ms integer not null,
    slots integer,
    cause text not null check (cause in ('slot', 'trigger', 'backfill')),
    outcome text not null check (outcome in ('started', 'queued', 'skipped', 'missed')),
    started_run_id text,
    at_ms integer not null,
    primary key (tenant, schedule, number),
    check ((started_run_id is not null) = (outcome = 'started'))
) strict, without rowid;

-- Up to which position transitions of a tenant were deleted: what a reader may have missed.
create table holdfast_prunings (
    tenant text not null primary key,
    position integer not null,
    pruned_ms integer not null
) strict, without rowid;

-- The log writes itself: whatever raises `transition_seq` has made a move, and cannot forget to record it.
create trigger holdfast_runs_started after insert on holdfast_runs begin
    insert into holdfast_transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    values (new.shard, new.id, new.transition_seq, null, new.status, new.status_reason, new.worker, new.epoch, new.updated_ms);
end;

create trigger holdfast_runs_moved after update of transition_seq on holdfast_runs begin
    insert into holdfast_transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    values (new.shard, new.id, new.transition_seq, old.status, new.status, new.status_reason,
        coalesce(new.worker, old.worker), new.epoch, new.updated_ms);
end;

create table holdfast_workers (
    id text not null primary key,
    queues text not null,
    codes text not null,
    lacks text not null default '{}',
    host text not null,
    pid integer not null,
    version text not null,
    started_ms integer not null,
    heartbeat_ms integer not null,
    lease_until_ms integer not null
) strict, without rowid;

create table holdfast_attributes (
    shard integer not null default 0,
    run_id text not null,
    name text not null,
    tenant text not null,
    kind text not null check (kind in ('text', 'number', 'bool', 'time')),
    text text not null default '',
    number real not null default 0,
    created_ms integer not null,
    primary key (shard, run_id, name)
) strict, without rowid;

-- list_runs by the value of an attribute, in order; `text` is empty or `number` is 0, as the kind says
create index holdfast_attributes_value on holdfast_attributes (tenant, name, kind, text, number, created_ms desc, run_id desc);

-- Not hot, and without a shard: written once for both databases over Store.transact (store/catalog.py).
create table holdfast_definitions (
    tenant text not null,
    workflow text not null,
    version integer not null check (version >= 1),
    hash text not null check (length(hash) = 64),
    document text not null check (json_valid(document)),
    source text not null,
    created_by text not null default '',
    created_ms integer not null,
    primary key (tenant, workflow, version)
) strict;

-- equal content is one version; and a worker looks for the code that a line names
create unique index holdfast_definitions_hash on holdfast_definitions (workflow, hash, tenant);

create trigger holdfast_definitions_immutable before update on holdfast_definitions begin
    select raise(abort, 'a version of a definition is never changed');
end;

create table holdfast_releases (
    tenant text not null,
    workflow text not null,
    name text not null,
    number integer not null check (number >= 1),
    version integer not null check (version >= 1),
    kind text not null check (kind in ('go_live', 'promote', 'restore')),
    moved_by text not null default '',
    moved_ms integer not null,
    primary key (tenant, workflow, name, number)
) strict, without rowid;

create trigger holdfast_releases_append_only before update on holdfast_releases begin
    select raise(abort, 'the history of a release is append-only');
end;

-- The editor's side: projects and who may do what in them, drawn workflows, drafts, triggers. None of it is hot.
create table holdfast_projects (
    tenant text not null,
    id text not null,
    name text not null,
    created_by text not null,
    created_ms integer not null,
    primary key (tenant, id),
    unique (tenant, name)
) strict, without rowid;

create table holdfast_members (
    tenant text not null,
    project_id text not null,
    subject text not null,
    role text not null check (role in ('viewer', 'editor', 'admin', 'owner')),
    added_by text not null,
    added_ms integer not null,
    primary key (tenant, project_id, subject)
) strict, without rowid;

-- a project has one owner
create unique index holdfast_members_owner on holdfast_members (tenant, project_id) where role = 'owner';
-- the projects of one person
create index holdfast_members_of on holdfast_members (tenant, subject);

create table holdfast_workflows (
    tenant text not null,
    id text not null,
    project_id text not null,
    name text not null,
    head integer not null default 0,
    newest integer not null default 0,
    saved_by text not null,
    saved_ms integer not null,
    created_by text not null,
    created_ms integer not null,
    deleted_ms integer,
    primary key (tenant, id),
    unique (tenant, name),
    check (head between 0 and newest)
) strict, without rowid;

create index holdfast_workflows_list on holdfast_workflows (tenant, project_id, name);

create table holdfast_drafts (
    tenant text not null,
    workflow_id text not null,
    project_id text not null,
    base_version integer not null check (base_version >= 0),
    revision integer not null check (revision >= 1),
    document text not null check (json_valid(document)),
    updated_by text not null,
    updated_ms integer not null,
    primary key (tenant, workflow_id)
) strict;

create table holdfast_triggers (
    tenant text not null,
    id text not null,
    project_id text not null,
    workflow_id text not null,
    name text not null,
    kind text not null check (kind in ('webhook', 'schedule', 'event', 'manual')),
    enabled integer not null check (enabled in (0, 1)),
    path text,
    document text not null check (json_valid(document)),
    revision integer not null,
    updated_by text not null,
    updated_ms integer not null,
    primary key (tenant, id),
    unique (tenant, workflow_id, name),
    unique (tenant, path),
    check ((path is not null) = (kind = 'webhook'))
) strict;

create table holdfast_audit (
    number integer primary key,
    tenant text not null,
    project_id text not null,
    workflow_id text,
    subject text not null,
    action text not null,
    facts text not null check (json_valid(facts)),
    at_ms integer not null
) strict;

create index holdfast_audit_list on holdfast_audit (tenant, project_id, number);

create trigger holdfast_audit_append_only before update on holdfast_audit begin
    select raise(abort, 'the audit log is append-only');
end;

-- Not hot but for start_runs, which looks for the quotas of its tenant.
create table holdfast_tenants (
    tenant text not null primary key,
    queued_max integer check (queued_max >= 0),
    running_max integer check (running_max >= 0),
    payload_bytes_max integer check (payload_bytes_max >= 0),
    stored_bytes_max integer check (stored_bytes_max >= 0),
    retention_ms integer check (retention_ms >= 0),
    changed_ms integer not null
) strict, without rowid;

-- How many bytes of payloads tenants with stored_bytes_max had when they were counted last; whoever begins to count
-- them again moves next_ms on.
create table holdfast_byte_accounts (
    tenant text not null primary key,
    stored_bytes integer not null default 0,
    counted_ms integer,
    next_ms integer not null
) strict, without rowid;

-- How many runs of a tenant's queue workers may hold; one without a row has no limit.
create table holdfast_queues (
    tenant text not null,
    queue text not null,
    running_max integer not null check (running_max >= 0),
    set_ms integer not null,
    actor text not null default '',
    note text not null default '',
    primary key (tenant, queue)
) strict, without rowid;

-- Closing events: who is to be told of the ends of which runs, and the ends that nobody has acknowledged yet. Written
-- once for both databases over Store.transact (store/outbox.py), but for the rows of the outbox: the trigger runs_ended.
-- An empty tenant stands for all of them (the handlers of programs), an empty workflow for all of them too.
create table holdfast_subscriptions (
    tenant text not null,
    workflow text not null,
    name text not null,
    created_ms integer not null,
    primary key (tenant, workflow, name)
) strict, without rowid;

create table holdfast_outbox (
    shard integer not null,
    run_id text not null,
    seq integer not null,
    subscription text not null,
    tenant text not null,
    workflow text not null,
    key text,
    status text not null check (status in ('completed', 'failed', 'cancelled', 'stuck')),
    reason text not null,
    error_type text,
    error_message text,
    failed text not null check (json_valid(failed)),
    ended_ms integer not null,
    lease_until_ms integer not null default 0,
    deliveries integer not null default 0,
    primary key (shard, run_id, seq, subscription)
) strict, without rowid;
create index holdfast_outbox_line on holdfast_outbox (subscription, tenant, ended_ms, run_id);
create index holdfast_outbox_handlers on holdfast_outbox (subscription, ended_ms, run_id);

-- Whatever ends a run tells those who are subscribed then, in the same statement.
create trigger holdfast_runs_ended after update of finalized_ms on holdfast_runs
when new.finalized_ms is not null and new.status <> old.status and new.continued_as_id is null begin
    insert into holdfast_outbox (shard, run_id, seq, subscription, tenant, workflow, key, status, reason, error_type,
        error_message, failed, ended_ms)
    select new.shard, new.id, new.transition_seq, s.name, new.tenant, new.workflow, new.key, new.status,
        new.terminal_reason, new.error_type, new.error_message, (
            select json_group_array(f.key) from (
                select j.key from holdfast_journal as j
                where j.shard = new.shard and j.run_id = new.id and j.status = 'failed' and j.kind = 'step'
                union
                select w.key from holdfast_waits as w
                where w.shard = new.shard and w.run_id = new.id and w.outcome = 'child_ended'
                    and w.child_status <> 'completed'
                order by 1) as f),
        new.updated_ms
    from holdfast_subscriptions as s
    where s.tenant in ('', new.tenant) and s.workflow in ('', new.workflow)
    on conflict (shard, run_id, seq, subscription) do nothing;
end;

-- claim_runs: whether it has to count at all
create index holdfast_tenants_limited on holdfast_tenants (tenant) where running_max is not null;

create table holdfast_pauses (
    tenant text not null,
    bar text not null,
    kind text not null check (kind in ('queue', 'workflow', 'tenant')),
    name text not null,
    recalls integer not null check (recalls in (0, 1)),
    since_ms integer not null,
    actor text not null default '',
    note text not null default '',
    primary key (tenant, bar),
    constraint bar_is_kind_and_name check (bar = case kind when 'tenant' then kind else kind || ':' || name end)
) strict, without rowid;

-- The log is append-only. Rows go when their run has gone, by retention and erasure, which delete the run first.
-- The trigger that writes a row does not know which wait or whose command it is about: that is filled in once.
create trigger holdfast_transitions_append_only before update on holdfast_transitions
when old.key is not null or old.actor is not null or new.shard <> old.shard or new.run_id <> old.run_id
    or new.seq <> old.seq or new.from_status is not old.from_status or new.to_status <> old.to_status
    or new.reason <> old.reason or new.worker is not old.worker or new.epoch <> old.epoch or new.at_ms <> old.at_ms
    or old.seq is not (select r.transition_seq from holdfast_runs as r where r.shard = old.shard and r.id = old.run_id) begin
    select raise(abort, 'transitions are append-only');
end;
create trigger holdfast_transitions_kept before delete on holdfast_transitions
when exists (select 1 from holdfast_runs as r where r.shard = old.shard and r.id = old.run_id) begin
    select raise(abort, 'transitions are append-only while their run is there');
end;
