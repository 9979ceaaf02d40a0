"""The part of GitLab's GraphQL schema that is about runners and their jobs, in GitLab's own names and types.

Source: GitLab, app/graphql/types/ci/{runner,runner_manager,job}_type.rb and the resolvers named there.
"""

from __future__ import annotations

_PAGE = "first: Int, after: String"
_RUNNERS = "paused: Boolean, status: CiRunnerStatus, type: CiRunnerType, tagList: [String!], search: String"
_CONNECTION = """
type {0}Connection {{ nodes: [{0}] pageInfo: PageInfo! count{1}: Int! }}
"""

SDL = (
    """
scalar Time
scalar Duration
scalar CiRunnerID
scalar CiRunnerManagerID
scalar JobID
scalar CiPipelineID
enum CiRunnerStatus { ONLINE OFFLINE STALE NEVER_CONTACTED }
enum CiRunnerType { INSTANCE_TYPE GROUP_TYPE PROJECT_TYPE }
enum CiRunnerAccessLevel { NOT_PROTECTED REF_PROTECTED }
enum CiRunnerCreationState { STARTED FINISHED }
enum CiRunnerJobExecutionStatus { ACTIVE IDLE }
enum RunnerMembershipFilter { DIRECT DESCENDANTS ALL_AVAILABLE }
enum CiJobKind { BUILD BRIDGE }
enum CiJobStatus {
  CREATED WAITING_FOR_RESOURCE PREPARING WAITING_FOR_CALLBACK PENDING RUNNING
  SUCCESS FAILED CANCELING CANCELED SKIPPED MANUAL SCHEDULED
}
type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
type QueryComplexity { score: Int limit: Int }
type Metadata { version: String! revision: String! enterprise: Boolean! }
type CurrentUser { id: ID! username: String! }
"""
    + f"""
type Query {{
  queryComplexity: QueryComplexity
  metadata: Metadata
  currentUser: CurrentUser
  runner(id: CiRunnerID!): CiRunner
  runners({_PAGE}, {_RUNNERS}): CiRunnerConnection
  jobs({_PAGE}, statuses: [CiJobStatus!], runnerTypes: [CiRunnerType!]): CiJobConnection
  group(fullPath: ID!): Group
  project(fullPath: ID!): Project
}}
type Group {{
  id: ID! name: String! fullPath: ID!
  runners({_PAGE}, {_RUNNERS}, membership: RunnerMembershipFilter = DESCENDANTS): CiRunnerConnection
  projects({_PAGE}, includeSubgroups: Boolean = false): ProjectConnection!
}}
type Project {{
  id: ID! name: String! path: String! fullPath: ID! archived: Boolean webUrl: String
  runners({_PAGE}, {_RUNNERS}): CiRunnerConnection
  jobs({_PAGE}, statuses: [CiJobStatus!]): CiJobConnection
}}
type CiRunner {{
  id: CiRunnerID! shortSha: String description: String runnerType: CiRunnerType! status: CiRunnerStatus!
  paused: Boolean! active: Boolean! locked: Boolean runUntagged: Boolean! tagList: [String!]
  accessLevel: CiRunnerAccessLevel! maximumTimeout: Int
  contactedAt: Time createdAt: Time tokenExpiresAt: Time creationState: CiRunnerCreationState
  jobCount: Int jobExecutionStatus: CiRunnerJobExecutionStatus projectCount: Int
  managers({_PAGE}, systemId: String, status: CiRunnerStatus): CiRunnerManagerConnection
  groups({_PAGE}): GroupConnection
  projects({_PAGE}): ProjectConnection
  jobs({_PAGE}, statuses: [CiJobStatus!]): CiJobConnection
}}
type CiRunnerManager {{
  id: CiRunnerManagerID! systemId: String! status: CiRunnerStatus! contactedAt: Time createdAt: Time
  version: String revision: String platformName: String architectureName: String executorName: String
  ipAddress: String jobExecutionStatus: CiRunnerJobExecutionStatus runner: CiRunner
}}
type CiStage {{ id: ID name: String }}
type Pipeline {{ id: CiPipelineID! iid: String! status: CiJobStatus! }}
type CiJob {{
  id: JobID name: String kind: CiJobKind! status: CiJobStatus stage: CiStage tags: [String!]
  createdAt: Time! queuedAt: Time scheduledAt: Time startedAt: Time finishedAt: Time erasedAt: Time
  duration: Int queuedDuration: Duration allowFailure: Boolean! retried: Boolean stuck: Boolean!
  active: Boolean! failureMessage: String exitCode: Int source: String refName: String webPath: String
  runner: CiRunner runnerManager: CiRunnerManager pipeline: Pipeline project: Project
}}
"""
    + "".join(_CONNECTION.format(name, "") for name in ("CiRunner", "CiRunnerManager", "Group", "Project"))
    # The number of jobs is counted no further than asked: one more than the limit means there are more.
    + _CONNECTION.format("CiJob", "(limit: Int = 1000)")
)
