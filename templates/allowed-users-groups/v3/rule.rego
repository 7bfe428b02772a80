package allowed_users_groups

import data.lib.containers
import data.lib.pod

# What each container runs as: its own settings, else those of the pod.
judged = [{"name": container.name, "settings": settings} |
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
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

violation[{"msg": msg}] {
  input.parameters.runAsUser.rule == "MustRunAsNonRoot"
  container := judged[_]
  object.get(container.settings, "runAsUser", "not set") == "not set"
  not container.settings.runAsNonRoot == true
  msg := sprintf(
    "Container %v is attempting to run without a required securityContext/runAsNonRoot or securityContext/runAsUser != 0",
    [container.name],
  )
}

# MustRunAs needs a value. The API server refuses all of them on pods whose operating system is Windows.
fault_of(field, demand, "not set") = fault {
  not pod.os_windows
  demand.rule == "MustRunAs"
  fault := sprintf("without a required securityContext/%v%v", [field, allowed_values(field, demand)])
}

# A value that is set has to follow the rule.
fault_of(field, demand, value) = fault {
  value != "not set"
  not follows(value, field, demand)
  fault := sprintf("%v %v. Allowed %v: %v", [attempts[field], value, field, demand])
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
