package restricted_taints

import data.lib.request
import data.lib.requester

violation[{"msg": msg}] {
  requester.writes
  not system_pool
  taint := request.object.spec.taints[_]
  reserved(taint)
  not had(taint)
  named := [request.name, taint.key, text(taint, "value"), text(taint, "effect")]
  msg := sprintf("Node %v must not get the taint %v=%v:%v: it is for nodes with the label kubernetes.azure.com/mode: system.", named)
}

system_pool {
  lower(request.object.metadata.labels["kubernetes.azure.com/mode"]) == "system"
}

reserved(taint) {
  notations(taint)[input.parameters.reservedTaints[_]]
}

# As kubectl writes a taint, and with less said: key, key=value, key:effect, key=value:effect.
notations(taint) = {concat("", [taint.key, value, effect]) |
  value := {"", concat("", ["=", text(taint, "value")])}[_]
  effect := {"", concat("", [":", text(taint, "effect")])}[_]
}

had(taint) {
  old := requester.before.spec.taints[_]
  [old.key, text(old, "value"), text(old, "effect")] == [taint.key, text(taint, "value"), text(taint, "effect")]
}

# Null and absent are empty text.
text(taint, field) = value {
  value := taint[field]
  value != null
} else = ""
