package allowed_users_groups

import data.lib.containers
import data.lib.pod

# What each container runs as: its own settings, else those of the pod.
judged = [{"name": container.name, "settings": settings} |
  container := containers.without_ephemeral[_]
  settings := object.union_n([context | context := [pod.spec, container][_].securityContext; is_object(context)])
]

# How a message names a wrong value of each field.
attempts = {
  "runAsUser": "as disallowed user",
  "runAsGroup": "as disallowed group",
  "fsGroup": "as disallowed group",
  "supplementalGroups": "with disallowed supplementalGroups",
}

# A parameter without a rule asks for nothing.
violation[{"msg": msg}] {
  demand := input.parameters[field]
  demand.rule != "RunAsAny"
  container := judged[_]
  fault := fault_of(field, demand, object.get(container.settings, field, "not set"))
  msg := sprintf("Container %v is attempting to run %v", [container.name, fault])
}

fault_of(field, demand, "not set") = fault {
  needs_value(field, demand)
  fault := sprintf("without a required securityContext/%v%v", [field, allowed_values(field, demand)])
}

# A value that is set has to follow the rule.
fault_of(field, demand, value) = fault {
  value != "not set"
  not follows(value, field, demand)
  fault := sprintf("%v %v. Allowed %v: %v", [attempts[field], value, field, demand])
}

# A promise not to run as root (runAsNonRoot) is no user.
needs_value("runAsUser", _)

needs_value(_, demand) {
  demand.rule == "MustRunAs"
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
