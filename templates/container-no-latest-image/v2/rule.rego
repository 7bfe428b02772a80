package container_no_latest_image

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.all[_]
  latest(container)
  msg := sprintf(
    "Please specify an explicit version such as '1.0'. Using the latest tag for container %v makes its version unclear.",
    [container.name],
  )
}

# Neither a tag nor a digest means latest.
latest(container) {
  not tagged(container)
}

latest(container) {
  endswith(container.image, ":latest")
}

tagged(container) {
  contains(container.image, ":")
}
