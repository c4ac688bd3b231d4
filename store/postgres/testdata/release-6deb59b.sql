--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: hookgate; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA hookgate;


--
-- Name: webhook_append_only(); Type: FUNCTION; Schema: hookgate; Owner: -
--

CREATE FUNCTION hookgate.webhook_append_only() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'hookgate', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM 1 FROM webhook_retention;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;


--
-- Name: webhook_approval_changes(); Type: FUNCTION; Schema: hookgate; Owner: -
--

CREATE FUNCTION hookgate.webhook_approval_changes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'hookgate', 'pg_temp'
    AS $$
BEGIN
    IF (OLD.state = 'pending' AND NEW.state IN ('approved', 'denied') OR OLD.state = 'approved' AND NEW.state IN ('denied', 'used'))
        AND (NEW.id, NEW.action, NEW.target, NEW.needs, NEW.requested_by, NEW.role, NEW.request_id, NEW.requested_at, NEW.reason, NEW.expires_at)
          = (OLD.id, OLD.action, OLD.target, OLD.needs, OLD.requested_by, OLD.role, OLD.request_id, OLD.requested_at, OLD.reason, OLD.expires_at)
        AND (NEW.state <> 'used'
            OR (NEW.decided_by, NEW.decided_at, NEW.decision_reason) = (OLD.decided_by, OLD.decided_at, OLD.decision_reason)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an approval is decided and used once, and stays what was asked for' USING ERRCODE = 'insufficient_privilege';
END $$;


--
-- Name: webhook_never_changed(); Type: FUNCTION; Schema: hookgate; Owner: -
--

CREATE FUNCTION hookgate.webhook_never_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'hookgate', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;


--
-- Name: webhook_retention_only(); Type: FUNCTION; Schema: hookgate; Owner: -
--

CREATE FUNCTION hookgate.webhook_retention_only() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'hookgate', 'pg_temp'
    AS $$
BEGIN
    PERFORM 1 FROM webhook_retention;
    IF FOUND AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is written by retention alone', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: webhook_admin_actions; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_admin_actions (
    sequence bigint NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    at bigint NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL COLLATE pg_catalog."C",
    remote_addr text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    target text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    result text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: webhook_admin_chain; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_admin_chain (
    single boolean DEFAULT true NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT webhook_admin_chain_single_check CHECK (single)
);


--
-- Name: webhook_approvals; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_approvals (
    id bigint NOT NULL,
    action text NOT NULL COLLATE pg_catalog."C",
    target text NOT NULL COLLATE pg_catalog."C",
    needs text NOT NULL COLLATE pg_catalog."C",
    requested_by text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL COLLATE pg_catalog."C",
    request_id text NOT NULL COLLATE pg_catalog."C",
    requested_at bigint NOT NULL,
    reason text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    decided_by text NOT NULL COLLATE pg_catalog."C",
    decided_at bigint NOT NULL,
    decision_reason text NOT NULL COLLATE pg_catalog."C",
    used_by text NOT NULL COLLATE pg_catalog."C",
    used_at bigint NOT NULL,
    CONSTRAINT webhook_approvals_check CHECK (((state = 'pending'::text) = (decided_by = ''::text))),
    CONSTRAINT webhook_approvals_check1 CHECK (((state = 'used'::text) = (used_by <> ''::text))),
    CONSTRAINT webhook_approvals_check2 CHECK (((state <> ALL (ARRAY['approved'::text, 'used'::text])) OR (decided_by <> requested_by))),
    CONSTRAINT webhook_approvals_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'approved'::text, 'denied'::text, 'used'::text])))
);


--
-- Name: webhook_batches; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_batches (
    id bigint NOT NULL,
    partition integer NOT NULL,
    sequence bigint NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    events bigint NOT NULL,
    requests bigint NOT NULL,
    purges bigint NOT NULL,
    last_event bigint NOT NULL,
    last_request bigint NOT NULL,
    worker text NOT NULL COLLATE pg_catalog."C",
    processed_at bigint NOT NULL,
    persisted_at bigint NOT NULL,
    attempts bigint NOT NULL,
    last_error text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: webhook_events; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_events (
    id bigint NOT NULL,
    message_id text NOT NULL COLLATE pg_catalog."C",
    event_type text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    ordering_key text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    payload bytea NOT NULL,
    sha256 bytea NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    received_at bigint NOT NULL,
    enqueued_at bigint NOT NULL,
    spooled_at bigint NOT NULL,
    replay_of text NOT NULL COLLATE pg_catalog."C",
    replayed_at bigint NOT NULL,
    headers text NOT NULL COLLATE pg_catalog."C",
    remote_addr text NOT NULL COLLATE pg_catalog."C",
    partition bigint NOT NULL,
    "position" text NOT NULL COLLATE pg_catalog."C",
    batch bigint NOT NULL
);
ALTER TABLE ONLY hookgate.webhook_events ALTER COLUMN payload SET COMPRESSION lz4;


--
-- Name: webhook_purges; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_purges (
    id bigint NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    purged_by text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    purged_at bigint NOT NULL,
    batch bigint NOT NULL
);


--
-- Name: webhook_removed_events; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_removed_events (
    id bigint NOT NULL,
    message_id text NOT NULL COLLATE pg_catalog."C",
    event_type text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    ordering_key text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    sha256 bytea NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    received_at bigint NOT NULL,
    enqueued_at bigint NOT NULL,
    spooled_at bigint NOT NULL,
    replay_of text NOT NULL COLLATE pg_catalog."C",
    replayed_at bigint NOT NULL,
    headers text NOT NULL COLLATE pg_catalog."C",
    remote_addr text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "position" text NOT NULL COLLATE pg_catalog."C",
    batch bigint NOT NULL,
    removed_at bigint NOT NULL
);


--
-- Name: webhook_requests; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_requests (
    id bigint NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    outcome text NOT NULL COLLATE pg_catalog."C",
    first_request_id text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    message_id text NOT NULL COLLATE pg_catalog."C",
    event_type text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    ordering_key text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    sha256 bytea NOT NULL,
    received_at bigint NOT NULL,
    enqueued_at bigint NOT NULL,
    spooled_at bigint NOT NULL,
    replay_of text NOT NULL COLLATE pg_catalog."C",
    replayed_at bigint NOT NULL,
    headers text NOT NULL COLLATE pg_catalog."C",
    remote_addr text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "position" text NOT NULL COLLATE pg_catalog."C",
    batch bigint NOT NULL
);


--
-- Name: webhook_stages; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_stages (
    ordinal integer NOT NULL,
    stage text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: webhook_audit_trail; Type: VIEW; Schema: hookgate; Owner: -
--

CREATE VIEW hookgate.webhook_audit_trail AS
 SELECT r.message_id,
    r.request_id,
        CASE s.stage
            WHEN 'stored'::text THEN 'persisted'::text
            ELSE s.stage
        END AS stage,
        CASE s.stage
            WHEN 'received'::text THEN json_build_object('remoteAddr', r.remote_addr)
            WHEN 'replayed'::text THEN json_build_object('replayOf', r.replay_of)
            WHEN 'spooled'::text THEN json_build_object()
            WHEN 'enqueued'::text THEN json_build_object('partition', r.partition, 'position', r."position")
            WHEN 'processed'::text THEN json_build_object('worker', b.worker)
            WHEN 'retried'::text THEN json_build_object('attempts', b.attempts, 'lastError', b.last_error)
            WHEN 'removed'::text THEN json_build_object()
            ELSE json_build_object('batch', r.batch, 'event', (r.id)::text)
        END AS metadata,
        CASE s.stage
            WHEN 'received'::text THEN r.received_at
            WHEN 'replayed'::text THEN r.replayed_at
            WHEN 'spooled'::text THEN r.spooled_at
            WHEN 'enqueued'::text THEN r.enqueued_at
            WHEN 'processed'::text THEN b.processed_at
            WHEN 'removed'::text THEN r.removed_at
            ELSE b.persisted_at
        END AS "timestamp",
    r.source,
    r.event_type,
    s.ordinal,
    r.batch
   FROM ((( SELECT webhook_events.id,
            webhook_events.message_id,
            webhook_events.event_type,
            webhook_events.source,
            webhook_events.request_id,
            webhook_events.received_at,
            webhook_events.enqueued_at,
            webhook_events.spooled_at,
            webhook_events.replay_of,
            webhook_events.replayed_at,
            webhook_events.remote_addr,
            webhook_events.partition,
            webhook_events."position",
            webhook_events.batch,
            (0)::bigint AS removed_at
           FROM hookgate.webhook_events
        UNION ALL
         SELECT webhook_removed_events.id,
            webhook_removed_events.message_id,
            webhook_removed_events.event_type,
            webhook_removed_events.source,
            webhook_removed_events.request_id,
            webhook_removed_events.received_at,
            webhook_removed_events.enqueued_at,
            webhook_removed_events.spooled_at,
            webhook_removed_events.replay_of,
            webhook_removed_events.replayed_at,
            webhook_removed_events.remote_addr,
            webhook_removed_events.partition,
            webhook_removed_events."position",
            webhook_removed_events.batch,
            webhook_removed_events.removed_at
           FROM hookgate.webhook_removed_events) r
     JOIN hookgate.webhook_batches b ON ((b.id = r.batch)))
     CROSS JOIN hookgate.webhook_stages s)
  WHERE (((s.stage <> 'retried'::text) OR (b.attempts > 1)) AND ((s.stage <> 'spooled'::text) OR (r.spooled_at <> 0)) AND ((s.stage <> 'replayed'::text) OR (r.replayed_at <> 0)) AND (s.stage <> 'purged'::text) AND ((s.stage <> 'removed'::text) OR (r.removed_at <> 0)))
UNION ALL
 SELECT r.message_id,
    r.request_id,
        CASE s.stage
            WHEN 'stored'::text THEN r.outcome
            ELSE s.stage
        END AS stage,
        CASE s.stage
            WHEN 'received'::text THEN json_build_object('remoteAddr', r.remote_addr)
            WHEN 'replayed'::text THEN json_build_object('replayOf', r.replay_of)
            WHEN 'spooled'::text THEN json_build_object()
            WHEN 'enqueued'::text THEN json_build_object('partition', r.partition, 'position', r."position")
            WHEN 'processed'::text THEN json_build_object('worker', b.worker)
            WHEN 'retried'::text THEN json_build_object('attempts', b.attempts, 'lastError', b.last_error)
            WHEN 'purged'::text THEN json_build_object('by', p.purged_by, 'reason', p.reason)
            ELSE
            CASE r.outcome
                WHEN 'duplicate'::text THEN json_build_object('batch', r.batch, 'firstRequestId', r.first_request_id)
                ELSE json_build_object('batch', r.batch, 'reason', r.reason)
            END
        END AS metadata,
        CASE s.stage
            WHEN 'received'::text THEN r.received_at
            WHEN 'replayed'::text THEN r.replayed_at
            WHEN 'spooled'::text THEN r.spooled_at
            WHEN 'enqueued'::text THEN r.enqueued_at
            WHEN 'processed'::text THEN b.processed_at
            WHEN 'purged'::text THEN p.purged_at
            ELSE b.persisted_at
        END AS "timestamp",
    r.source,
    r.event_type,
    s.ordinal,
    r.batch
   FROM (((hookgate.webhook_requests r
     JOIN hookgate.webhook_batches b ON ((b.id = r.batch)))
     LEFT JOIN hookgate.webhook_purges p ON ((p.request_id = r.request_id)))
     CROSS JOIN hookgate.webhook_stages s)
  WHERE (((s.stage <> 'retried'::text) OR (b.attempts > 1)) AND ((s.stage <> 'spooled'::text) OR (r.spooled_at <> 0)) AND ((s.stage <> 'replayed'::text) OR (r.replayed_at <> 0)) AND ((s.stage <> 'purged'::text) OR (p.id IS NOT NULL)) AND (s.stage <> 'removed'::text));


--
-- Name: webhook_checkpoints; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_checkpoints (
    partition bigint NOT NULL,
    from_sequence bigint NOT NULL,
    to_sequence bigint NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    events bigint NOT NULL,
    duplicates bigint NOT NULL,
    dead_letters bigint NOT NULL,
    purges bigint NOT NULL,
    persisted_at bigint NOT NULL,
    removed_at bigint NOT NULL
);


--
-- Name: webhook_counters; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_counters (
    single boolean DEFAULT true NOT NULL,
    events bigint NOT NULL,
    requests bigint NOT NULL,
    batches bigint NOT NULL,
    purges bigint NOT NULL,
    CONSTRAINT webhook_counters_single_check CHECK (single)
)
WITH (fillfactor='10');


--
-- Name: webhook_dead_letters; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_dead_letters (
    id bigint NOT NULL,
    request_id text NOT NULL COLLATE pg_catalog."C",
    payload bytea NOT NULL,
    reason text NOT NULL COLLATE pg_catalog."C",
    dead_lettered_at bigint NOT NULL
);
ALTER TABLE ONLY hookgate.webhook_dead_letters ALTER COLUMN payload SET COMPRESSION lz4;


--
-- Name: webhook_partitions; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_partitions (
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    hash bytea DEFAULT decode(repeat('00'::text, 32), 'hex'::text) NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    duplicates bigint DEFAULT 0 NOT NULL,
    dead_letters bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');


--
-- Name: webhook_removals; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_removals (
    single boolean DEFAULT true NOT NULL,
    events bigint NOT NULL,
    duplicates bigint NOT NULL,
    dead_letters bigint NOT NULL,
    last_event bigint NOT NULL,
    last_request bigint NOT NULL,
    last_batch bigint NOT NULL,
    last_purge bigint NOT NULL,
    holder text NOT NULL COLLATE pg_catalog."C",
    held_until bigint NOT NULL,
    CONSTRAINT webhook_removals_single_check CHECK (single)
)
WITH (fillfactor='10');


--
-- Name: webhook_request_bodies; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_request_bodies (
    request_id text NOT NULL COLLATE pg_catalog."C",
    payload bytea NOT NULL,
    sha256 bytea NOT NULL,
    stored_at bigint NOT NULL
);


--
-- Name: webhook_retention; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_retention (
    reason text NOT NULL
);


--
-- Name: webhook_schema_versions; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_schema_versions (
    version bigint NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: webhook_store; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_store (
    single boolean DEFAULT true NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT webhook_store_single_check CHECK (single)
);


--
-- Name: webhook_tokens; Type: TABLE; Schema: hookgate; Owner: -
--

CREATE TABLE hookgate.webhook_tokens (
    name text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL,
    revoked_at bigint NOT NULL
);


--
-- Data for Name: webhook_admin_actions; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_admin_actions VALUES
	(1, '\x0000000000000000000000000000000000000000000000000000000000000000', '\xe00ee9184bd2e9affa688ab9c4a51c58554ad0e761f9b43b2080e8665450a677', 1700000000000000, '09000000-0000-0000-0000-000000000000', 'alice', 'admin', '', 'mode', 'read_only', '', ''),
	(2, '\xe00ee9184bd2e9affa688ab9c4a51c58554ad0e761f9b43b2080e8665450a677', '\xf5a22725e59549f66c2f51755cf62409ad00a15ef06e40fff8c2394cdb7273cc', 1700000000000000, '09000000-0000-0000-0000-000000000000', 'alice', 'admin', '', 'mode', 'read_only', '', '');


--
-- Data for Name: webhook_admin_chain; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_admin_chain VALUES
	(true, 2, '\xf5a22725e59549f66c2f51755cf62409ad00a15ef06e40fff8c2394cdb7273cc');


--
-- Data for Name: webhook_approvals; Type: TABLE DATA; Schema: hookgate; Owner: -
--



--
-- Data for Name: webhook_batches; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_batches VALUES
	(3, 0, 2, '\x864e5fe49cc0d67ee6065e8c0a673e8b6108d3998ea4920f54f72aa5647de2ce', '\x81a1d1720bcff6f2649ebe1bf481fee20ffb3e85a2dafa7e40de96f06d7f2d48', 3, 2, 0, 1795925733725598, 4, 'w', 1, 1795925733725596, 1, ''),
	(7, 0, 4, '\xdd5de088c38692e9d12b7eaaca1324927c5f216d2dd40416c755e0db51c4fd1b', '\x27dc15cbe8e754d291c00f7a70b442ae22fbb4342d55b8a45939a86724b693ca', 3, 1, 0, 1795925733729475, 8, 'w', 1, 1795925733729473, 1, ''),
	(8, 1, 4, '\x75358289888e4c5ac7a398d321849d5fbe31baa7657bf37ef532dd8eda313731', '\x227e25f087d979b81b2c48f0ce3bc2e47eaa9642428cb9dcbd76ab998b0ebcea', 3, 1, 0, 1795925733729478, 9, 'w', 1, 1795925733729473, 1, ''),
	(9, 0, 5, '\x27dc15cbe8e754d291c00f7a70b442ae22fbb4342d55b8a45939a86724b693ca', '\x72c793412bccd3b108e23522481339669801f94c283642a6e3d3b98ba2825437', 3, 1, 0, 1795925733731147, 10, 'w', 1, 1795925733731145, 1, ''),
	(10, 1, 5, '\x227e25f087d979b81b2c48f0ce3bc2e47eaa9642428cb9dcbd76ab998b0ebcea', '\xd12a5b5b2569e861c06c1a1e180b942758b5e532ca2c0f9baf506ee4b3a42a8f', 3, 1, 0, 1795925733731150, 11, 'w', 1, 1795925733731145, 1, ''),
	(11, 0, 6, '\x72c793412bccd3b108e23522481339669801f94c283642a6e3d3b98ba2825437', '\x240041c8de7e673c9c11f5e4ae0e5cdc26d1550caee52e8afd5ea0e6cd39bdd6', 3, 0, 0, 1795925733760209, 11, 'w', -62135596800000000, 1795925733760207, 1, ''),
	(12, 0, 7, '\x240041c8de7e673c9c11f5e4ae0e5cdc26d1550caee52e8afd5ea0e6cd39bdd6', '\x1ebfb32e71ce9054820be94162741f73b4b8c3a84a69785e579278973ec7e0ad', 3, 0, 0, 1795925733761437, 11, 'w', -62135596800000000, 1795925733761435, 1, ''),
	(13, 0, 8, '\x1ebfb32e71ce9054820be94162741f73b4b8c3a84a69785e579278973ec7e0ad', '\xb4d960906526195d3219bccceaa28b80c1b2734601532e3b51764dd2a3122990', 3, 0, 0, 1795925733762692, 11, 'w', -62135596800000000, 1795925733762690, 1, ''),
	(14, 1, 6, '\xd12a5b5b2569e861c06c1a1e180b942758b5e532ca2c0f9baf506ee4b3a42a8f', '\x2b2cf7792312328acdb56a2040a7710f2ee3d6627bbc3fcc09e8f6e39cf0a9cd', 5, 3, 0, 1795925733766943, 14, 'w', -62135596800000000, 1795925733766939, 2, 'before'),
	(15, 1, 7, '\x2b2cf7792312328acdb56a2040a7710f2ee3d6627bbc3fcc09e8f6e39cf0a9cd', '\x5fe802dbf1fbe3b280d7fea9d45959199394b0d3dca0cedf77f5f53eb41a1c75', 0, 0, 1, 1795925733766943, 14, 'alice', 1795925733770977, 1795925733770977, 1, '');


--
-- Data for Name: webhook_checkpoints; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_checkpoints VALUES
	(0, 1, 1, '\x0000000000000000000000000000000000000000000000000000000000000000', '\x864e5fe49cc0d67ee6065e8c0a673e8b6108d3998ea4920f54f72aa5647de2ce', 3, 1, 0, 0, 1795925733722624, 1795925733742349),
	(0, 3, 3, '\x81a1d1720bcff6f2649ebe1bf481fee20ffb3e85a2dafa7e40de96f06d7f2d48', '\xdd5de088c38692e9d12b7eaaca1324927c5f216d2dd40416c755e0db51c4fd1b', 3, 1, 0, 0, 1795925733727764, 1795925733754797),
	(1, 1, 3, '\x0000000000000000000000000000000000000000000000000000000000000000', '\x75358289888e4c5ac7a398d321849d5fbe31baa7657bf37ef532dd8eda313731', 9, 3, 0, 0, 1795925733727764, 1795925733757884);


--
-- Data for Name: webhook_counters; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_counters VALUES
	(true, 1795925733766943, 14, 15, 1);


--
-- Data for Name: webhook_dead_letters; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_dead_letters VALUES
	(4, '018bcfe5-6800-703d-b52f-d2846cad9603', '\x7b226e223a31357d', 'at fault', 1795925733725596),
	(13, '018bcfe5-6807-7199-a4fa-532dd8d38278', '\x7b226e223a373130307d', 'at fault', 1795925733766939);


--
-- Data for Name: webhook_events; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_events VALUES
	(1795925733731145, '0-40', 'type1', 'default', 'key0', 40, '\x7b226e223a34307d', '\xfe93caa915efd9e64e354337782ad6bd37dce4185dcfa309d71cdeb13fb05bb6', '018bcfe5-6800-70a3-9187-f67615f151e0', 1700000000000040, 1700000000001040, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-40', 9),
	(1795925733731146, '0-41', 'type2', 'default', 'key0', 41, '\x7b226e223a34317d', '\xe33d8bf7f55a93deaf57c09fffbf57cb762322df37eac1118ba33c20c71faa30', '018bcfe5-6800-70a7-b8fd-16050b35507f', 1700000000000041, 1700000000001041, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-41', 9),
	(1795925733731147, '0-42', 'type0', 'default', 'key0', 42, '\x7b226e223a34327d', '\x4e0730f238f81de137ff27d89ec3bcc3ebadf95107661387df82043c4ec25475', '018bcfe5-6800-70ac-8989-8617ba742169', 1700000000000042, 1700000000001042, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-42', 9),
	(1795925733731148, '1-40', 'type1', 'default', 'key1', 40, '\x7b226e223a34307d', '\xfe93caa915efd9e64e354337782ad6bd37dce4185dcfa309d71cdeb13fb05bb6', '018bcfe5-6800-70a3-8a3e-09a5959f6d5f', 1700000000000040, 1700000000001040, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-40', 10),
	(1795925733731149, '1-41', 'type2', 'default', 'key1', 41, '\x7b226e223a34317d', '\xe33d8bf7f55a93deaf57c09fffbf57cb762322df37eac1118ba33c20c71faa30', '018bcfe5-6800-70a7-9b26-41db51485f46', 1700000000000041, 1700000000001041, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-41', 10),
	(1795925733731150, '1-42', 'type0', 'default', 'key1', 42, '\x7b226e223a34327d', '\x4e0730f238f81de137ff27d89ec3bcc3ebadf95107661387df82043c4ec25475', '018bcfe5-6800-70ac-ac9d-6b8e7c4b85b9', 1700000000000042, 1700000000001042, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-42', 10),
	(1795925733760208, '0-1', 'type1', 'default', 'key0', 1, '\x7b226e223a317d', '\x2bfd14f43d17fc7cea24e0917a8879b4b2f880b8baeec1b9d90fbaad655e71bd', '018bcfe5-6800-7004-b506-de26b3fef441', 1700000000000001, 1700000000001001, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-1', 11),
	(1795925733761436, '0-11', 'type2', 'default', 'key0', 11, '\x7b226e223a31317d', '\x3f39ec9d8aa7c48412f853938efb9baf2ecaf0d8e3d99bd78044572348a46bae', '018bcfe5-6800-702d-8830-3192c19e557d', 1700000000000011, 1700000000001011, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-11', 12),
	(1795925733762690, '0-20', 'type2', 'hookgate-certify', 'key0', 20, '\x7b226e223a32307d', '\x494ee598bfd761306736aa2d7c8f85b4473700f3f3b94b866a4ccfe1b7ca42ef', '018bcfe5-6800-7051-b283-70e496f1854f', 1700000000000020, 1700000000001020, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-20', 13),
	(1795925733762691, '0-21', 'type0', 'default', 'key0', 21, '\x7b226e223a32317d', '\x21425da57c66c7f34b8ad6251726f1725e5aa441198c82d59a3818ea16f297d4', '018bcfe5-6800-7056-9a14-ffc103a67a40', 1700000000000021, 1700000000001021, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-21', 13),
	(1795925733762692, '0-22', 'type1', 'hookgate-certify', 'key0', 22, '\x7b226e223a32327d', '\x7dcc80768cb5fed093b29f9aabb6806fbaffee04d60679d52df084e44e517c9f', '018bcfe5-6800-705a-8025-648786503db8', 1700000000000022, 1700000000001022, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-22', 13),
	(1795925733766939, '1-7000', 'type1', 'default', 'key1', 7000, '\x7b226e223a373030307d', '\xf31e9eef293df582a4dfc35d65b4da54643198cd9556b267dcf318b918f67e58', '018bcfe5-6807-7000-9919-982b730d7312', 1700000000007000, 1700000000008000, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7000', 14),
	(1795925733766940, '1-7001', 'type2', 'default', 'key1', 7001, '\x7b226e223a373030317d', '\x678faee07d77ab01bf9bf8f4dda87b9b09e203e0e005253d5dd3a849ad0a55b3', '018bcfe5-6807-7004-bf32-85904e291782', 1700000000007001, 1700000000008001, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7001', 14),
	(1795925733766941, '1-7002', 'type0', 'default', 'type0', 7002, '\x7b226e223a373030327d', '\x628de999d1f8754aa445cd76906fabc655cf0a5072881250788105af4520435f', '018bcfe5-6807-7008-8e42-1145e25c57a7', 1700000000007002, 1700000000008002, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7002', 14),
	(1795925733766942, 'größer ä😀', 'type1', 'default', 'key1', 7003, '\x7b226e223a373030337d', '\x7514ee193adc0d5d2dd0aa782d67b015f37a8ad5490736e3acdf43ab2183753b', '018bcfe5-6807-700c-b056-03d99f124edb', 1700000000007003, 1700000000008003, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7003', 14),
	(1795925733766943, '1-7004', 'type2', 'default', 'key1', 7004, '\x7b226e223a373030347d', '\x5869026b164a7910f5e223ae03f232cf609f23a2015f5f65d424ca1b2153fa49', '018bcfe5-6807-7010-abfa-907c73d68ff6', 1700000000007004, 1700000000008004, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7004', 14);


--
-- Data for Name: webhook_partitions; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_partitions VALUES
	(0, 2, 8, '\xb4d960906526195d3219bccceaa28b80c1b2734601532e3b51764dd2a3122990', 24, 5, 1),
	(1, 2, 7, '\x5fe802dbf1fbe3b280d7fea9d45959199394b0d3dca0cedf77f5f53eb41a1c75', 20, 6, 2);


--
-- Data for Name: webhook_purges; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_purges VALUES
	(1, '018bcfe5-6807-719d-bb0a-e34515add2d3', 'alice', 'no use', 1795925733770977, 15);


--
-- Data for Name: webhook_removals; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_removals VALUES
	(true, 28, 5, 0, 1795925733729478, 7, 6, 0, '27ERYZ23R44SWE3TUDUMIO37MA', 1795925733759347);


--
-- Data for Name: webhook_removed_events; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_removed_events VALUES
	(1795925733725596, '0-10', 'type1', 'default', 'key0', 10, '\x3ff6698e101869f36e088516c6c0ca6495c40c0abdae72f6e4d124610dace7b0', '018bcfe5-6800-7028-aac3-5c1fef307ad4', 1700000000000010, 1700000000001010, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-10', 3, 1795925733733421),
	(1795925733725597, '0-11', 'type2', 'default', 'key0', 11, '\x3f39ec9d8aa7c48412f853938efb9baf2ecaf0d8e3d99bd78044572348a46bae', '018bcfe5-6800-702d-a858-175ed11dc880', 1700000000000011, 1700000000001011, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-11', 3, 1795925733737054),
	(1795925733725598, '0-12', 'type0', 'default', 'key0', 12, '\x78e629c92dd3d2d83954a8ea8d607938a69a1c5e828a7e406abcd6ccb1fd0de0', '018bcfe5-6800-7031-b72a-2d04baef33a9', 1700000000000012, 1700000000001012, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-12', 3, 1795925733737054),
	(1795925733729473, '0-30', 'type0', 'default', 'key0', 30, '\xda732a529017fc796d33fc7a819f9167897fb454d098081c119720854fffd663', '018bcfe5-6800-707a-aefc-e410fa09bfa7', 1700000000000030, 1700000000001030, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-30', 7, 1795925733738615),
	(1795925733729474, '0-31', 'type1', 'default', 'key0', 31, '\xab111b6b00728e707dbb65c3fa606cf93d25589a4dce43cff31367ebb5eb0d89', '018bcfe5-6800-707e-bb7e-a1c976c87fef', 1700000000000031, 1700000000001031, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-31', 7, 1795925733738615),
	(1795925733729475, '0-32', 'type2', 'default', 'key0', 32, '\x8acabfd10d6f76d71fd047495ed80bfc6c414983d893baa8f64ddc0c6fd9d25b', '018bcfe5-6800-7083-b8bf-e08292bdf0e8', 1700000000000032, 1700000000001032, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-32', 7, 1795925733738615),
	(1795925733729476, '1-30', 'type0', 'default', 'key1', 30, '\xda732a529017fc796d33fc7a819f9167897fb454d098081c119720854fffd663', '018bcfe5-6800-707a-8aff-71f214d3f1bb', 1700000000000030, 1700000000001030, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-30', 8, 1795925733742349),
	(1795925733729477, '1-31', 'type1', 'default', 'key1', 31, '\xab111b6b00728e707dbb65c3fa606cf93d25589a4dce43cff31367ebb5eb0d89', '018bcfe5-6800-707e-bf81-e380bca57ee5', 1700000000000031, 1700000000001031, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-31', 8, 1795925733742349),
	(1795925733729478, '1-32', 'type2', 'default', 'key1', 32, '\x8acabfd10d6f76d71fd047495ed80bfc6c414983d893baa8f64ddc0c6fd9d25b', '018bcfe5-6800-7083-a34c-c1b82547486a', 1700000000000032, 1700000000001032, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-32', 8, 1795925733742349),
	(1795925733760207, '0-0', 'type0', 'hookgate-certify', 'key0', 0, '\xf3013f933b9fb80ab6d995e7ad9da36f683837ba1d81e950c943d40111eac2f0', '018bcfe5-6800-7000-836f-adb1d16f7d9b', 1700000000000000, 1700000000001000, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-0', 11, 1795925733764934),
	(1795925733760209, '0-2', 'type2', 'hookgate-certify', 'key0', 2, '\x363379742f80b51bdb9206579af7754911543079b9399cb3fc315fb199f476e8', '018bcfe5-6800-7008-aa39-71f376b3556f', 1700000000000002, 1700000000001002, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-2', 11, 1795925733764934),
	(1795925733761435, '0-10', 'type1', 'hookgate-certify', 'key0', 10, '\x3ff6698e101869f36e088516c6c0ca6495c40c0abdae72f6e4d124610dace7b0', '018bcfe5-6800-7028-aecb-ed37a5531f20', 1700000000000010, 1700000000001010, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-10', 12, 1795925733764934),
	(1795925733761437, '0-12', 'type0', 'hookgate-certify', 'key0', 12, '\x78e629c92dd3d2d83954a8ea8d607938a69a1c5e828a7e406abcd6ccb1fd0de0', '018bcfe5-6800-7031-9505-744f0b28dbb1', 1700000000000012, 1700000000001012, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-12', 12, 1795925733764934);


--
-- Data for Name: webhook_request_bodies; Type: TABLE DATA; Schema: hookgate; Owner: -
--



--
-- Data for Name: webhook_requests; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_requests VALUES
	(3, '018bcfe5-6800-7028-aae8-7746700fe34a', 'duplicate', '01000000-0000-0000-0000-000000000000', '', '0-10', 'type1', 'default', 'key0', 10, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000000010, 1700000000001010, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-10', 3),
	(4, '018bcfe5-6800-703d-b52f-d2846cad9603', 'dead_lettered', '', 'at fault', '0-15', 'type0', 'default', 'key0', 15, '\x7f23ddb56d242763555a08300e65d8b13ea634b994cf503609da75aa859f101f', 1700000000000015, 1700000000001015, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-15', 3),
	(8, '018bcfe5-6800-707a-835d-61547ebfa47d', 'duplicate', '01000000-0000-0000-0000-000000000000', '', '0-30', 'type0', 'default', 'key0', 30, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000000030, 1700000000001030, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-30', 7),
	(9, '018bcfe5-6800-707a-8bf8-06e6a5f7b1a8', 'duplicate', '01000000-0000-0000-0000-000000000000', '', '1-30', 'type0', 'default', 'key1', 30, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000000030, 1700000000001030, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-30', 8),
	(10, '018bcfe5-6800-70a3-a132-445d386b9312', 'duplicate', '01000000-0000-0000-0000-000000000000', '', '0-40', 'type1', 'default', 'key0', 40, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000000040, 1700000000001040, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 0, '0-40', 9),
	(11, '018bcfe5-6800-70a3-bf94-6a3b6d75b268', 'duplicate', '01000000-0000-0000-0000-000000000000', '', '1-40', 'type1', 'default', 'key1', 40, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000000040, 1700000000001040, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-40', 10),
	(12, '018bcfe5-6807-7000-a10b-f897b21ce013', 'duplicate', '018bcfe5-6807-7000-9919-982b730d7312', '', '1-7000', 'type1', 'default', 'key1', 7000, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1700000000007000, 1700000000008000, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7000', 14),
	(13, '018bcfe5-6807-7199-a4fa-532dd8d38278', 'dead_lettered', '', 'at fault', '1-7100', 'type2', 'default', 'key1', 7100, '\x6d2a3613115f0b4af659e19c5055073042dd7559c86886f6cfe38e3f06afac1e', 1700000000007100, 1700000000008100, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7100', 14),
	(14, '018bcfe5-6807-719d-bb0a-e34515add2d3', 'dead_lettered', '', 'at fault', '1-7101', 'type0', 'default', 'key1', 7101, '\x786e332354f2308a2a3805ef21ff47fc9cbe55e3dd1ffb5ded32fda0457bab43', 1700000000007101, 1700000000008101, 0, '', 0, '[{"name":"X-A","value":"b"}]', '192.0.2.1:1', 1, '0-7101', 14);


--
-- Data for Name: webhook_retention; Type: TABLE DATA; Schema: hookgate; Owner: -
--



--
-- Data for Name: webhook_schema_versions; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_schema_versions VALUES
	(1, '00001_store.sql', '2026-11-29 04:15:33.599167+00'),
	(2, '00002_access.sql', '2026-11-29 04:15:33.599167+00'),
	(3, '00003_retention.sql', '2026-11-29 04:15:33.599167+00'),
	(4, '00004_approvals.sql', '2026-11-29 04:15:33.599167+00'),
	(5, '00005_request_bodies.sql', '2026-11-29 04:15:33.599167+00'),
	(6, '00006_schema.sql', '2026-11-29 04:15:33.599167+00'),
	(7, '00007_trace_pages.sql', '2026-11-29 04:15:33.599167+00'),
	(8, '00008_store_id.sql', '2026-11-29 04:15:33.599167+00'),
	(9, '00009_tests.sql', '2026-11-29 04:15:33.599167+00');


--
-- Data for Name: webhook_stages; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_stages VALUES
	(1, 'received'),
	(2, 'replayed'),
	(3, 'spooled'),
	(4, 'enqueued'),
	(5, 'processed'),
	(6, 'retried'),
	(7, 'stored'),
	(8, 'purged'),
	(9, 'removed');


--
-- Data for Name: webhook_store; Type: TABLE DATA; Schema: hookgate; Owner: -
--

INSERT INTO hookgate.webhook_store VALUES
	(true, 'cdfbd7b5-fbc3-4e55-b148-2b5bbd050367');


--
-- Data for Name: webhook_tokens; Type: TABLE DATA; Schema: hookgate; Owner: -
--



--
-- Name: webhook_admin_actions webhook_admin_actions_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_admin_actions
    ADD CONSTRAINT webhook_admin_actions_pkey PRIMARY KEY (sequence);


--
-- Name: webhook_admin_chain webhook_admin_chain_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_admin_chain
    ADD CONSTRAINT webhook_admin_chain_pkey PRIMARY KEY (single);


--
-- Name: webhook_approvals webhook_approvals_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_approvals
    ADD CONSTRAINT webhook_approvals_pkey PRIMARY KEY (id);


--
-- Name: webhook_batches webhook_batches_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_batches
    ADD CONSTRAINT webhook_batches_pkey PRIMARY KEY (id);


--
-- Name: webhook_checkpoints webhook_checkpoints_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_checkpoints
    ADD CONSTRAINT webhook_checkpoints_pkey PRIMARY KEY (partition, from_sequence);


--
-- Name: webhook_counters webhook_counters_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_counters
    ADD CONSTRAINT webhook_counters_pkey PRIMARY KEY (single);


--
-- Name: webhook_dead_letters webhook_dead_letters_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_dead_letters
    ADD CONSTRAINT webhook_dead_letters_pkey PRIMARY KEY (id);


--
-- Name: webhook_dead_letters webhook_dead_letters_request_id_key; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_dead_letters
    ADD CONSTRAINT webhook_dead_letters_request_id_key UNIQUE (request_id);


--
-- Name: webhook_events webhook_events_message_id_event_type_source_key; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_events
    ADD CONSTRAINT webhook_events_message_id_event_type_source_key UNIQUE (message_id, event_type, source);


--
-- Name: webhook_events webhook_events_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_events
    ADD CONSTRAINT webhook_events_pkey PRIMARY KEY (id);


--
-- Name: webhook_partitions webhook_partitions_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_partitions
    ADD CONSTRAINT webhook_partitions_pkey PRIMARY KEY (partition);


--
-- Name: webhook_purges webhook_purges_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_purges
    ADD CONSTRAINT webhook_purges_pkey PRIMARY KEY (id);


--
-- Name: webhook_purges webhook_purges_request_id_key; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_purges
    ADD CONSTRAINT webhook_purges_request_id_key UNIQUE (request_id);


--
-- Name: webhook_removals webhook_removals_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_removals
    ADD CONSTRAINT webhook_removals_pkey PRIMARY KEY (single);


--
-- Name: webhook_removed_events webhook_removed_events_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_removed_events
    ADD CONSTRAINT webhook_removed_events_pkey PRIMARY KEY (id);


--
-- Name: webhook_request_bodies webhook_request_bodies_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_request_bodies
    ADD CONSTRAINT webhook_request_bodies_pkey PRIMARY KEY (request_id);


--
-- Name: webhook_requests webhook_requests_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_requests
    ADD CONSTRAINT webhook_requests_pkey PRIMARY KEY (id);


--
-- Name: webhook_requests webhook_requests_request_id_key; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_requests
    ADD CONSTRAINT webhook_requests_request_id_key UNIQUE (request_id);


--
-- Name: webhook_schema_versions webhook_schema_versions_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_schema_versions
    ADD CONSTRAINT webhook_schema_versions_pkey PRIMARY KEY (version);


--
-- Name: webhook_stages webhook_stages_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_stages
    ADD CONSTRAINT webhook_stages_pkey PRIMARY KEY (ordinal);


--
-- Name: webhook_store webhook_store_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_store
    ADD CONSTRAINT webhook_store_pkey PRIMARY KEY (single);


--
-- Name: webhook_tokens webhook_tokens_hash_key; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_tokens
    ADD CONSTRAINT webhook_tokens_hash_key UNIQUE (hash);


--
-- Name: webhook_tokens webhook_tokens_pkey; Type: CONSTRAINT; Schema: hookgate; Owner: -
--

ALTER TABLE ONLY hookgate.webhook_tokens
    ADD CONSTRAINT webhook_tokens_pkey PRIMARY KEY (name);


--
-- Name: webhook_approvals_open; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_approvals_open ON hookgate.webhook_approvals USING btree (requested_by) WHERE (state = ANY (ARRAY['pending'::text, 'approved'::text]));


--
-- Name: webhook_checkpoints_end; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_checkpoints_end ON hookgate.webhook_checkpoints USING btree (partition, to_sequence);


--
-- Name: webhook_events_replays; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_events_replays ON hookgate.webhook_events USING btree (request_id) WHERE (replay_of <> ''::text);


--
-- Name: webhook_events_request; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_events_request ON hookgate.webhook_events USING btree (request_id);


--
-- Name: webhook_events_tests; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_events_tests ON hookgate.webhook_events USING btree (id) WHERE (source = 'hookgate-certify'::text);


--
-- Name: webhook_events_type; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_events_type ON hookgate.webhook_events USING btree (event_type, received_at DESC);


--
-- Name: webhook_purges_batch; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_purges_batch ON hookgate.webhook_purges USING btree (batch);


--
-- Name: webhook_removed_events_message; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_removed_events_message ON hookgate.webhook_removed_events USING btree (message_id);


--
-- Name: webhook_removed_events_request; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_removed_events_request ON hookgate.webhook_removed_events USING btree (request_id);


--
-- Name: webhook_request_bodies_age; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_request_bodies_age ON hookgate.webhook_request_bodies USING btree (stored_at);


--
-- Name: webhook_requests_dead; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_requests_dead ON hookgate.webhook_requests USING btree (id) WHERE (outcome = 'dead_lettered'::text);


--
-- Name: webhook_requests_message; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_requests_message ON hookgate.webhook_requests USING btree (message_id, request_id);


--
-- Name: webhook_requests_replay; Type: INDEX; Schema: hookgate; Owner: -
--

CREATE INDEX webhook_requests_replay ON hookgate.webhook_requests USING btree (replay_of) WHERE (replay_of <> ''::text);


--
-- Name: webhook_admin_actions webhook_admin_actions_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_admin_actions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_admin_actions FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_never_changed();


--
-- Name: webhook_approvals webhook_approvals_kept; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_approvals_kept BEFORE DELETE OR TRUNCATE ON hookgate.webhook_approvals FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_never_changed();


--
-- Name: webhook_approvals webhook_approvals_update; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_approvals_update BEFORE UPDATE ON hookgate.webhook_approvals FOR EACH ROW EXECUTE FUNCTION hookgate.webhook_approval_changes();


--
-- Name: webhook_batches webhook_batches_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_batches_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_batches FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_checkpoints webhook_checkpoints_retention_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_checkpoints_retention_only BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_retention_only();


--
-- Name: webhook_dead_letters webhook_dead_letters_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_dead_letters_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_dead_letters FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_events webhook_events_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_events_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_events FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_purges webhook_purges_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_purges_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_purges FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_removals webhook_removals_retention_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_removals_retention_only BEFORE INSERT OR DELETE OR TRUNCATE ON hookgate.webhook_removals FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_retention_only();


--
-- Name: webhook_removals webhook_removals_update_retention_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_removals_update_retention_only BEFORE UPDATE OF events, duplicates, dead_letters, last_event, last_request, last_batch, last_purge ON hookgate.webhook_removals FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_retention_only();


--
-- Name: webhook_removed_events webhook_removed_events_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_removed_events_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_removed_events FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_request_bodies webhook_request_bodies_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_request_bodies_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_request_bodies FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- Name: webhook_requests webhook_requests_append_only; Type: TRIGGER; Schema: hookgate; Owner: -
--

CREATE TRIGGER webhook_requests_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON hookgate.webhook_requests FOR EACH STATEMENT EXECUTE FUNCTION hookgate.webhook_append_only();


--
-- PostgreSQL database dump complete
--


