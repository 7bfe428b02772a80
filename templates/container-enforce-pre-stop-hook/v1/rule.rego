package container_enforce_pre_stop_hook

import data.lib.containers
import data.lib.request

# Those of a pod, and those of a workload's template.
judged = array.concat(
  containers.without_ephemeral,
  [container | container := request.object.spec.template.spec[["containers", "initContainers"][_]][_]],
)

violation[{"msg": msg}] {
  container := judged[_]
  not container.lifecycle.preStop
  msg := sprintf(
    "Container: %v does not include a Pre-stop hook. Set lifecycle.preStop so that it ends gracefully.",
    [container.name],
  )
}
