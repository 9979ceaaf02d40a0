-- Pull requests, their checks and their result reports: what the query files in this folder read.
--
-- For PostgreSQL 12 and newer. Running it again changes nothing. No name here says in which schema it stands:
-- the search_path decides, so that views of the same names can stand in for these tables (README.md).

CREATE TABLE IF NOT EXISTS projects (
    id   bigint PRIMARY KEY,
    -- Collation "C" makes rows come in the order of the exposition, whatever the locale of the database.
    key  text COLLATE "C" NOT NULL UNIQUE CHECK (key <> '')
);

COMMENT ON TABLE  projects     IS
    'What pull requests belong to. Every project is in every report, with zeros too.';
COMMENT ON COLUMN projects.id  IS 'Never changes, so that a project may change its key.';
COMMENT ON COLUMN projects.key IS 'Short name for people; the label "project" of every metric.';

CREATE TABLE IF NOT EXISTS pull_requests (
    id               bigint PRIMARY KEY,
    project_id       bigint NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number           bigint NOT NULL,
    title            text NOT NULL DEFAULT '',
    state            text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'merged', 'declined')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    first_review_at  timestamptz CHECK (first_review_at >= created_at),
    closed_at        timestamptz CHECK (closed_at >= created_at),
    UNIQUE (project_id, number),
    CHECK ((state = 'open') = (closed_at IS NULL))
);

COMMENT ON TABLE  pull_requests                 IS 'Proposed changes, open and closed.';
COMMENT ON COLUMN pull_requests.id              IS
    'Unique over all projects and never used again; durations are counted once per id.';
COMMENT ON COLUMN pull_requests.project_id      IS 'Where it belongs.';
COMMENT ON COLUMN pull_requests.number          IS 'What people call it within its project.';
COMMENT ON COLUMN pull_requests.title           IS 'For people; no report reads it.';
COMMENT ON COLUMN pull_requests.state           IS 'open, merged or declined; the label "pr_state".';
COMMENT ON COLUMN pull_requests.created_at      IS 'When it was opened.';
COMMENT ON COLUMN pull_requests.first_review_at IS
    'When somebody first reviewed it; null until then. The only review that reports ask about, '
    'hence no table of reviews.';
COMMENT ON COLUMN pull_requests.closed_at       IS 'When it was merged or declined; null while it is open.';

-- How many are open in a project, and since when the oldest.
CREATE INDEX IF NOT EXISTS pull_requests_open ON pull_requests (project_id, created_at) WHERE state = 'open';
-- Those closed today, or in the last days.
CREATE INDEX IF NOT EXISTS pull_requests_closed_at ON pull_requests (closed_at);
-- Those first reviewed in the last days.
CREATE INDEX IF NOT EXISTS pull_requests_first_review_at ON pull_requests (first_review_at);

CREATE TABLE IF NOT EXISTS expected_reports (
    project_id  bigint NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind <> ''),
    due_after   interval NOT NULL DEFAULT '0' CHECK (due_after >= interval '0'),
    PRIMARY KEY (project_id, kind)
);

COMMENT ON TABLE  expected_reports            IS
    'Which result reports every pull request of a project should have.';
COMMENT ON COLUMN expected_reports.project_id IS 'The project that asks for it.';
COMMENT ON COLUMN expected_reports.kind       IS
    'Kind of report: coverage, security, ...; as in reports.kind.';
COMMENT ON COLUMN expected_reports.due_after  IS
    'How long after the opening of a pull request it counts as missing.';

CREATE TABLE IF NOT EXISTS reports (
    pull_request_id  bigint NOT NULL REFERENCES pull_requests (id) ON DELETE CASCADE,
    kind             text NOT NULL CHECK (kind <> ''),
    result           text NOT NULL CHECK (result IN ('passed', 'failed')),
    arrived_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pull_request_id, kind)
);

COMMENT ON TABLE  reports                 IS
    'Result reports that arrived. One of the same kind that comes later replaces the row.';
COMMENT ON COLUMN reports.pull_request_id IS 'The pull request it reports on.';
COMMENT ON COLUMN reports.kind            IS 'Kind of report, as in expected_reports.kind.';
COMMENT ON COLUMN reports.result          IS 'passed or failed; the label "result".';
COMMENT ON COLUMN reports.arrived_at      IS 'When it came.';

CREATE TABLE IF NOT EXISTS checks (
    pull_request_id  bigint NOT NULL REFERENCES pull_requests (id) ON DELETE CASCADE,
    name             text NOT NULL CHECK (name <> ''),
    result           text NOT NULL DEFAULT 'pending' CHECK (result IN ('passed', 'failed', 'pending')),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pull_request_id, name)
);

COMMENT ON TABLE  checks                 IS
    'Checks of pull requests (build, lint, ...). A check that runs again replaces the row.';
COMMENT ON COLUMN checks.pull_request_id IS 'The pull request that is checked.';
COMMENT ON COLUMN checks.name            IS 'Which check, within its pull request.';
COMMENT ON COLUMN checks.result          IS 'passed, failed, or pending while it runs; the label "result".';
COMMENT ON COLUMN checks.updated_at      IS 'When the result last changed.';
