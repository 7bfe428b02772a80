package container_no_latest_image

import data.lib.containers
import data.lib.request

# The containers of a workload's template; pods themselves are not judged.
judged = containers.of(
  request.object.spec.template.spec,
  ["containers", "initContainers", "ephemeralContainers"],
)

violation[{"msg": msg}] {
  container := judged[_]
  not tagged(container)
  msg := sprintf(
    "Please specify an explicit version such as '1.0'. Using the latest tag for container %v makes its version unclear.",
    [container.name],
  )
}

tagged(container) {
  contains(container.image, ":")
}

# The word lates or latest, also where more of the tag or a digest follows.
violation[{"msg": msg}] {
  container := judged[_]
  regex.match(`:latest?\b`, container.image)
  msg := sprintf(
    "Avoiding the latest tag for container: %v is required. Name a version or a digest alone.",
    [container.name],
  )
}
