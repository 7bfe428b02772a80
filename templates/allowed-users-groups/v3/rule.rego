package allowed_users_groups

import data.lib.containers
import data.lib.pod
import data.lib.security

judged = [container |
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
]

# The fields that have rules, and how a message names a wrong value.
attempts = {
  "runAsUser": "as disallowed user",
  "runAsGroup": "as disallowed group",
  "fsGroup": "as disallowed group",
  "supplementalGroups": "with disallowed supplementalGroups",
}

# A value that is set has to follow the field's rule. A parameter without a rule asks for nothing.
violation[{"msg": msg}] {
  attempt := attempts[field]
  demand := input.parameters[field]
  demand.rule != "RunAsAny"
  container := judged[_]
  value := security.setting(container, field)
  not follows(value, field, demand)
  msg := sprintf(
    "Container %v is attempting to run %v %v. Allowed %v: %v",
    [container.name, attempt, value, field, demand],
  )
}

# MustRunAs needs a value. The API server refuses all of them on pods whose operating system is Windows.
violation[{"msg": msg}] {
  not pod.os_windows
  demand := input.parameters[field]
  demand.rule == "MustRunAs"
  container := judged[_]
  not has(container, field)
  msg := sprintf(
    "Container %v is attempting to run without a required securityContext/%v%v",
    [container.name, field, allowed_values(field, demand)],
  )
}

violation[{"msg": msg}] {
  input.parameters.runAsUser.rule == "MustRunAsNonRoot"
  container := judged[_]
  not has(container, "runAsUser")
  not promises_non_root(container)
  msg := sprintf(
    "Container %v is attempting to run without a required securityContext/runAsNonRoot or securityContext/runAsUser != 0",
    [container.name],
  )
}

has(container, field) {
  _ = security.setting(container, field)
}

promises_non_root(container) {
  security.setting(container, "runAsNonRoot") == true
}

follows(id, "runAsUser", demand) {
  demand.rule == "MustRunAsNonRoot"
  id != 0
}

follows(id, "runAsUser", demand) {
  demand.rule == "MustRunAs"
  in_ranges(id, demand.ranges)
}

follows(id, field, demand) {
  {"runAsGroup", "fsGroup"}[field]
  group_follows(id, demand)
}

follows(ids, "supplementalGroups", demand) {
  count([id | id := ids[_]; not group_follows(id, demand)]) == 0
}

group_follows(id, demand) {
  {"MustRunAs", "MayRunAs"}[demand.rule]
  in_ranges(id, demand.ranges)
}

in_ranges(id, ranges) {
  range := ranges[_]
  range.min <= id
  ends_above(id, range.max)
}

# -1 is no upper end.
ends_above(_, -1)

ends_above(id, max) {
  id <= max
}

allowed_values("runAsUser", _) = ""

allowed_values(field, demand) = sprintf(". Allowed %v: %v", [field, demand]) {
  field != "runAsUser"
}
