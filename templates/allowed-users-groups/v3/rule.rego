package allowed_users_groups

import data.lib.containers
import data.lib.pod
import data.lib.security

# What has to follow its rule, as {who, field, ids}: users and groups by container, other groups by pod.
subjects = array.concat(
  [subject |
    container := containers.checked[_].container
    field := ["runAsUser", "runAsGroup"][_]
    subject := {
      "who": sprintf("Container %v", [container.name]),
      "field": field,
      "ids": [id | id := security.setting(container, field)],
    }
  ],
  [subject |
    not containers.pod_excluded
    ids := pod_ids[field]
    subject := {"who": "The pod", "field": field, "ids": ids}
  ],
)

pod_ids = {
  "supplementalGroups": [id | id := pod.spec.securityContext.supplementalGroups[_]],
  "fsGroup": [id | id := pod.spec.securityContext.fsGroup; id != null],
}

violation[{"msg": msg}] {
  subject := subjects[_]
  demand := input.parameters[subject.field]
  {"MustRunAs", "MayRunAs"}[demand.rule]
  id := subject.ids[_]
  not in_ranges(id, demand.ranges)
  msg := sprintf("%v must not have the %v %v; allowed: %v.", [subject.who, subject.field, id, demand.ranges])
}

# Windows has no such ids.
violation[{"msg": msg}] {
  pod.template
  not pod.windows
  subject := subjects[_]
  input.parameters[subject.field].rule == "MustRunAs"
  count(subject.ids) == 0
  msg := sprintf("%v must set %v; allowed: %v.", [subject.who, subject.field, input.parameters[subject.field].ranges])
}

violation[{"msg": msg}] {
  input.parameters.runAsUser.rule == "MustRunAsNonRoot"
  container := containers.checked[_].container
  may_be_root(container)
  msg := sprintf("Container %v must run as a user other than root: set runAsUser above 0 or runAsNonRoot.", [container.name])
}

may_be_root(container) {
  security.setting(container, "runAsUser") == 0
}

may_be_root(container) {
  not security.setting(container, "runAsUser")
  not promises_non_root(container)
}

promises_non_root(container) {
  security.setting(container, "runAsNonRoot") == true
}

in_ranges(id, ranges) {
  ids := ranges[_]
  id >= ids.min
  below(id, ids.max)
}

below(_, -1) = true

below(id, max) {
  id <= max
}
