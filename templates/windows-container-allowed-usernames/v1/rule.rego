package windows_container_allowed_usernames

import data.lib.containers
import data.lib.windows

violation[{"msg": msg}] {
  windows.judged
  container := containers.without_ephemeral[_]
  not containers.excluded_by_image(container)
  not allowed(windows.user(container))
  msg := sprintf(
    "Container <%v> has disallowed runAsUsername. Disallowed users are %v",
    [container.name, input.parameters.allowedUserNames],
  )
}

allowed(user) {
  windows.matches(user, input.parameters.allowedUserNames[_])
}
