CREATE TABLE attempts (
	delivery_key BIGINT NOT NULL, 
	n BIGINT NOT NULL, 
	trigger TEXT COLLATE "C" NOT NULL, 
	started_us BIGINT NOT NULL, 
	finished_us BIGINT, 
	status BIGINT, 
	error TEXT COLLATE "C", 
	answer BYTEA NOT NULL, 
	detail BYTEA, 
	PRIMARY KEY (delivery_key, n)
);
CREATE TABLE audit (
	key BIGSERIAL NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	action TEXT COLLATE "C" NOT NULL, 
	principal TEXT COLLATE "C" NOT NULL, 
	object TEXT COLLATE "C" NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE bulk_items (
	job_key BIGINT NOT NULL, 
	place BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (job_key, place)
);
CREATE TABLE bulk_jobs (
	key BIGSERIAL NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	created_us BIGINT NOT NULL, 
	running BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE commands (
	key BIGINT NOT NULL, 
	command_id TEXT COLLATE "C" NOT NULL, 
	state TEXT COLLATE "C" NOT NULL, 
	since_us BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key, command_id)
);
CREATE TABLE deliveries (
	key BIGINT NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	endpoint_key BIGINT NOT NULL, 
	body_key BIGINT NOT NULL, 
	event_id TEXT COLLATE "C" NOT NULL, 
	event_type TEXT COLLATE "C" NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	execution_id TEXT COLLATE "C" NOT NULL, 
	state TEXT COLLATE "C" NOT NULL, 
	reason TEXT COLLATE "C", 
	trigger TEXT COLLATE "C" NOT NULL, 
	attempts BIGINT NOT NULL, 
	step BIGINT NOT NULL, 
	rank BIGINT NOT NULL, 
	due_us BIGINT, 
	planned_us BIGINT NOT NULL, 
	first_us BIGINT, 
	order_key TEXT COLLATE "C", 
	replay_key BIGINT, 
	lease TEXT COLLATE "C", 
	lease_until_us BIGINT, 
	PRIMARY KEY (key)
);
CREATE TABLE delivery_bodies (
	key BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE endpoints (
	key BIGSERIAL NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE erasures (
	key BIGINT NOT NULL, 
	first BIGINT NOT NULL, 
	last BIGINT NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE error_kinds (
	team TEXT COLLATE "C" NOT NULL, 
	fingerprint TEXT COLLATE "C" NOT NULL, 
	type TEXT COLLATE "C" NOT NULL, 
	pattern TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (team, fingerprint)
);
CREATE TABLE error_texts (
	team TEXT COLLATE "C" NOT NULL, 
	key BIGINT NOT NULL, 
	text TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (team, key)
);
CREATE TABLE executions (
	key BIGINT NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	created_us BIGINT NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	workflow_name TEXT COLLATE "C", 
	mode TEXT COLLATE "C", 
	status TEXT COLLATE "C" NOT NULL, 
	at_us BIGINT NOT NULL, 
	started_us BIGINT, 
	duration_us BIGINT, 
	stopped_us BIGINT, 
	retry_of TEXT COLLATE "C", 
	parent_id TEXT COLLATE "C", 
	error_type TEXT COLLATE "C", 
	deleted BIGINT NOT NULL, 
	ended_us BIGINT, 
	trigger TEXT COLLATE "C" NOT NULL, 
	error TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE export_jobs (
	key BIGSERIAL NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	is_open BIGINT NOT NULL, 
	expires_us BIGINT, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE halts (
	partition BIGINT NOT NULL, 
	"offset" BIGINT NOT NULL, 
	first BIGINT NOT NULL, 
	records BIGINT NOT NULL, 
	reason TEXT COLLATE "C" NOT NULL, 
	halted_us BIGINT NOT NULL, 
	until BIGINT, 
	resumed_us BIGINT, 
	resumed_by TEXT COLLATE "C", 
	PRIMARY KEY (partition)
);
CREATE TABLE idempotent_requests (
	team TEXT COLLATE "C" NOT NULL, 
	principal TEXT COLLATE "C" NOT NULL, 
	key TEXT COLLATE "C" NOT NULL, 
	fingerprint BYTEA NOT NULL, 
	created_us BIGINT NOT NULL, 
	answer BYTEA, 
	PRIMARY KEY (team, principal, key)
);
CREATE TABLE lanes (
	endpoint_key BIGINT NOT NULL, 
	look_us BIGINT, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (endpoint_key)
);
CREATE TABLE large_payloads (
	key BIGINT NOT NULL, 
	slot TEXT COLLATE "C" NOT NULL, 
	value BYTEA NOT NULL
);
CREATE TABLE leases (
	name TEXT COLLATE "C" NOT NULL, 
	holder TEXT COLLATE "C" NOT NULL, 
	until_us BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE log_lines (
	key BIGINT NOT NULL, 
	time_us BIGINT NOT NULL, 
	event_tie BIGINT NOT NULL, 
	place BIGINT NOT NULL, 
	level TEXT COLLATE "C" NOT NULL, 
	node_id TEXT COLLATE "C", 
	message TEXT COLLATE "C" NOT NULL, 
	data BYTEA, 
	PRIMARY KEY (key, time_us, event_tie, place)
);
CREATE TABLE meta (
	id BIGINT NOT NULL, 
	schema_version BIGINT NOT NULL, 
	fold_version BIGINT NOT NULL, 
	incarnation TEXT COLLATE "C", 
	partitions BIGINT, 
	endpoints_version BIGINT NOT NULL, 
	tokens_version BIGINT NOT NULL, 
	key_check BYTEA, 
	PRIMARY KEY (id)
);
CREATE TABLE node_names (
	team TEXT COLLATE "C" NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	node_id TEXT COLLATE "C" NOT NULL, 
	name TEXT COLLATE "C" NOT NULL, 
	text TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (team, workflow_id, node_id, name)
);
CREATE TABLE nodes (
	key BIGINT NOT NULL, 
	node_id TEXT COLLATE "C" NOT NULL, 
	iteration BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key, node_id, iteration, attempt)
);
CREATE TABLE offsets (
	partition BIGINT NOT NULL, 
	next BIGINT NOT NULL, 
	planned BIGINT NOT NULL, 
	anchor BYTEA NOT NULL, 
	PRIMARY KEY (partition)
);
CREATE TABLE payloads (
	key BIGINT NOT NULL, 
	slot TEXT COLLATE "C" NOT NULL, 
	value BYTEA
);
CREATE TABLE progress (
	key BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	updated_us BIGINT NOT NULL, 
	events BIGINT NOT NULL, 
	completed BIGINT NOT NULL, 
	total BIGINT NOT NULL, 
	heard_us BIGINT NOT NULL, 
	registers BYTEA NOT NULL, 
	tail BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE quarantine (
	id BIGSERIAL NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	partition BIGINT NOT NULL, 
	"offset" BIGINT NOT NULL, 
	stored_us BIGINT NOT NULL, 
	reason TEXT COLLATE "C" NOT NULL, 
	field TEXT COLLATE "C", 
	message TEXT COLLATE "C" NOT NULL, 
	decision TEXT COLLATE "C", 
	decided_us BIGINT, 
	decided_by TEXT COLLATE "C", 
	key BYTEA, 
	value BYTEA, 
	headers BYTEA NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE releases (
	key BIGINT NOT NULL, 
	partition BIGINT NOT NULL, 
	first BIGINT NOT NULL, 
	next BIGINT NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE replays (
	key BIGSERIAL NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	endpoint_key BIGINT NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	state TEXT COLLATE "C" NOT NULL, 
	body BYTEA NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE rollups (
	team TEXT COLLATE "C" NOT NULL, 
	facet BIGINT NOT NULL, 
	grain BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	key TEXT COLLATE "C" NOT NULL, 
	status TEXT COLLATE "C" NOT NULL, 
	bucket BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	total_us BIGINT NOT NULL, 
	PRIMARY KEY (team, facet, grain, at, key, status, bucket)
);
CREATE TABLE run_statistics (
	team TEXT COLLATE "C" NOT NULL, 
	hour BIGINT NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	node_id TEXT COLLATE "C" NOT NULL, 
	status TEXT COLLATE "C" NOT NULL, 
	error TEXT COLLATE "C" NOT NULL, 
	bucket BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	total_us BIGINT NOT NULL, 
	PRIMARY KEY (team, hour, workflow_id, node_id, status, error, bucket)
);
CREATE TABLE seen (
	key BIGINT NOT NULL, 
	chunk BIGINT NOT NULL, 
	entries BYTEA NOT NULL, 
	PRIMARY KEY (key, chunk)
);
CREATE TABLE statistics (
	team TEXT COLLATE "C" NOT NULL, 
	hour BIGINT NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	status TEXT COLLATE "C" NOT NULL, 
	trigger TEXT COLLATE "C" NOT NULL, 
	error TEXT COLLATE "C" NOT NULL, 
	bucket BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	total_us BIGINT NOT NULL, 
	PRIMARY KEY (team, hour, workflow_id, status, trigger, error, bucket)
);
CREATE TABLE tags (
	key BIGINT NOT NULL, 
	tag TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (key, tag)
);
CREATE TABLE tickets (
	digest BYTEA NOT NULL, 
	token_id TEXT COLLATE "C" NOT NULL, 
	expires_us BIGINT NOT NULL
);
CREATE TABLE tokens (
	key BIGSERIAL NOT NULL, 
	id TEXT COLLATE "C" NOT NULL, 
	team TEXT COLLATE "C" NOT NULL, 
	body BYTEA NOT NULL, 
	changed BIGINT NOT NULL, 
	last_used_us BIGINT, 
	PRIMARY KEY (key)
);
CREATE TABLE totals (
	team TEXT COLLATE "C" NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	status TEXT COLLATE "C" NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (team, workflow_id, status)
);
CREATE TABLE watches (
	key BIGINT NOT NULL, 
	due_us BIGINT NOT NULL, 
	PRIMARY KEY (key)
);
CREATE TABLE workflow_names (
	team TEXT COLLATE "C" NOT NULL, 
	workflow_id TEXT COLLATE "C" NOT NULL, 
	said_us BIGINT NOT NULL, 
	name TEXT COLLATE "C" NOT NULL, 
	PRIMARY KEY (team, workflow_id)
);
ALTER TABLE tags DROP CONSTRAINT tags_pkey;
ALTER TABLE node_names DROP CONSTRAINT node_names_pkey;
ALTER TABLE run_statistics DROP CONSTRAINT run_statistics_pkey;
CREATE INDEX audit_by_action ON audit (team, action, key);
CREATE INDEX audit_by_object ON audit (team, object, key);
CREATE INDEX audit_by_principal ON audit (team, principal, key);
CREATE INDEX audit_by_team ON audit (team, key);
CREATE UNIQUE INDEX bulk_jobs_by_id ON bulk_jobs (team, id);
CREATE INDEX bulk_jobs_running ON bulk_jobs (key) WHERE running = 1;
CREATE INDEX commands_by_id ON commands (command_id);
CREATE INDEX commands_unanswered ON commands (since_us) WHERE state = 'requested';
CREATE INDEX deliveries_by_body ON deliveries (body_key, key);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_key, key);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (id);
CREATE INDEX deliveries_by_lease_end ON deliveries (lease_until_us, key) WHERE state = 'leased';
CREATE INDEX deliveries_by_replay ON deliveries (replay_key, first_us, key) WHERE replay_key IS NOT NULL AND state = 'pending';
CREATE INDEX deliveries_due ON deliveries (endpoint_key, rank, due_us, key) WHERE state = 'pending';
CREATE INDEX deliveries_held ON deliveries (endpoint_key, key) WHERE (state = 'held' OR reason = 'halted');
CREATE INDEX deliveries_in_order ON deliveries (endpoint_key, order_key, rank, key) WHERE order_key IS NOT NULL AND state IN ('pending', 'leased');
CREATE INDEX deliveries_leased ON deliveries (endpoint_key, key) WHERE state = 'leased';
CREATE UNIQUE INDEX endpoints_by_id ON endpoints (team, id);
CREATE INDEX executions_by_duration ON executions (team, duration_us NULLS FIRST, key) WHERE deleted = 0;
CREATE INDEX executions_by_end ON executions (team, ended_us NULLS FIRST, key) WHERE ended_us IS NOT NULL;
CREATE INDEX executions_by_error ON executions (team, error_type NULLS FIRST, at_us, key) WHERE deleted = 0 AND error_type IS NOT NULL;
CREATE UNIQUE INDEX executions_by_id ON executions (team, id);
CREATE INDEX executions_by_parent ON executions (team, parent_id NULLS FIRST, status, key) WHERE deleted = 0 AND parent_id IS NOT NULL;
CREATE INDEX executions_by_retry ON executions (team, retry_of NULLS FIRST, key) WHERE deleted = 0 AND retry_of IS NOT NULL;
CREATE INDEX executions_by_status ON executions (team, status, at_us, key) WHERE deleted = 0;
CREATE INDEX executions_by_time ON executions (team, at_us, key) WHERE deleted = 0;
CREATE INDEX executions_by_workflow ON executions (team, workflow_id, status, at_us, key) WHERE deleted = 0;
CREATE INDEX export_jobs_by_expiry ON export_jobs (expires_us, key);
CREATE UNIQUE INDEX export_jobs_by_id ON export_jobs (team, id);
CREATE INDEX export_jobs_open ON export_jobs (key) WHERE is_open = 1;
CREATE INDEX idempotent_requests_by_team ON idempotent_requests (team);
CREATE INDEX idempotent_requests_by_time ON idempotent_requests (created_us);
CREATE INDEX lanes_to_look_at ON lanes (look_us) WHERE look_us IS NOT NULL;
CREATE UNIQUE INDEX large_payloads_by_slot ON large_payloads (key, slot);
CREATE UNIQUE INDEX node_names_by_digest ON node_names (team, workflow_id, md5(node_id), md5(name));
CREATE UNIQUE INDEX payloads_by_slot ON payloads (key, slot);
CREATE INDEX quarantine_by_team ON quarantine (team);
CREATE INDEX quarantine_undecided ON quarantine (partition, "offset") WHERE decision IS NULL;
CREATE INDEX releases_by_offset ON releases (partition, next, key);
CREATE INDEX replays_by_endpoint ON replays (endpoint_key, key);
CREATE UNIQUE INDEX replays_by_id ON replays (team, id);
CREATE UNIQUE INDEX run_statistics_by_digest ON run_statistics (team, hour, workflow_id, md5(node_id), status, error, bucket);
CREATE INDEX tags_by_key ON tags (key);
CREATE UNIQUE INDEX tickets_by_digest ON tickets (digest);
CREATE INDEX tickets_by_end ON tickets (expires_us);
CREATE INDEX tokens_by_change ON tokens (changed, key);
CREATE UNIQUE INDEX tokens_by_id ON tokens (id);
CREATE INDEX tokens_by_team ON tokens (team, key);
CREATE INDEX watches_by_due ON watches (due_us, key);
CREATE SEQUENCE executions_keys;
CREATE SEQUENCE releases_keys;
CREATE SEQUENCE deliveries_keys;
CREATE SEQUENCE delivery_bodies_keys;
ALTER TABLE offsets SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE progress SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE executions SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE lanes SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE deliveries SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE totals SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE statistics SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE rollups SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE meta SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
INSERT INTO meta (id, schema_version, fold_version, endpoints_version, tokens_version) VALUES (1, 7, 1, 0, 0);
