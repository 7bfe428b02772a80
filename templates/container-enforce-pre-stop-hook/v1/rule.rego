package container_enforce_pre_stop_hook

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.lasting[_].container
  not hooked(container)
  msg := sprintf("Container %v must have a preStop hook: lifecycle.preStop with exec, httpGet, sleep or tcpSocket.", [container.name])
}

hooked(container) {
  container.lifecycle.preStop[["exec", "httpGet", "sleep", "tcpSocket"][_]] != null
}
