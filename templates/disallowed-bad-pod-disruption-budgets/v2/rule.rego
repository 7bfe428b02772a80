package disallowed_bad_pod_disruption_budgets

import data.lib.request
import data.lib.selectors

violation[{"msg": msg}] {
  regex.match("^0+%?$", sprintf("%v", [request.object.spec.maxUnavailable]))
  msg := sprintf(
    "PodDisruptionBudget <%v> has maxUnavailable of 0, only positive integers are allowed for maxUnavailable",
    [request.name],
  )
}

# Each workload by itself, as Azure's template judges it.
violation[{"msg": msg}] {
  least := request.object.spec.minAvailable
  workload := data.inventory.namespace[request.namespace]["apps/v1"][["Deployment", "StatefulSet"][_]][_]
  selectors.matches(request.object.spec.selector, labels(workload))
  replicas := workload.spec.replicas
  pods(least, replicas) >= replicas
  msg := sprintf(
    "PodDisruptionBudget %v specifies minAvailable of %v, but matching %v %v has %v replicas. minAvailable should be less than %v",
    [request.name, least, workload.kind, workload.metadata.name, replicas, replicas],
  )
}

labels(workload) = object.get(workload.spec.template, ["metadata", "labels"], {})

pods(amount, _) = amount {
  is_number(amount)
}

# Kubernetes rounds up: https://kubernetes.io/docs/tasks/run-application/configure-pdb/#rounding-logic-when-specifying-percentages
pods(amount, all) = ceil((to_number(trim_suffix(amount, "%")) * all) / 100)
