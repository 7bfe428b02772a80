{{/* The container's environment. Each AZPOLICY_ name is an option of `azpolicy run`; the program's defaults are not repeated. */}}
{{- define "azpolicy.environ" -}}
# Known only in the pod.
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: AZPOLICY_LISTEN
  value: $(POD_IP):8080
- name: AZPOLICY_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: AZPOLICY_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: AZPOLICY_LEADER_ELECT
  value: "true"
{{- $excluded := concat (list .Release.Namespace) .Values.excludeNamespaces }}
{{- $pins := list }}
{{- range $url, $digest := .Values.templatePins }}{{ $pins = append $pins (printf "%s=%s" $url $digest) }}{{ end }}
{{- $declared := .Values.azure.declaredCluster }}
{{- /* One on each line, as tags may contain spaces. */}}
{{- $tags := list }}
{{- range $name, $value := $declared.tags }}{{ $tags = append $tags (printf "%s=%s" $name $value) }}{{ end }}
{{- $settings := list
    (list "EXCLUDE_NAMESPACES" (uniq $excluded | join " "))
    (list "INVENTORY_KINDS" (join " " .Values.inventoryKinds))
    (list "EXPANSION" (ternary "off" .Values.expansion (eq (toString .Values.expansion) "false")))
    (list "INTERVAL" .Values.interval)
    (list "RESYNC" .Values.resync)
    (list "TEMPLATES" .Values.templates)
    (list "TEMPLATE_HOSTS" (join " " .Values.templateHosts))
    (list "TEMPLATE_PINS" (join " " $pins))
    (list "TEMPLATE_CACHE" "/var/cache/azpolicy")
    (list "PRUNE_LIMIT" .Values.pruneLimit)
    (list "MANAGED_BY" .Values.managedBy)
    (list "ADOPT" (join " " .Values.adopt))
    (list "RELEASE" .Release.Name)
    (list "DRY_RUN" .Values.dryRun)
    (list "GUARD_GATEKEEPER" (ternary true "" .Values.guard.enabled))
    (list "PROBE" (ternary true "" .Values.probe))
    (list "REPORTS" (ternary .Values.reports.api "" .Values.reports.enabled))
    (list "PAGE_LISTEN" (include "azpolicy.pageListen" .))
    (list "PAGE_HOSTS" (ternary (join " " .Values.page.hosts) "" .Values.page.enabled))
    (list "LOG_LEVEL" .Values.logLevel)
    (list "CLUSTER_ID" .Values.azure.clusterId)
    (list "CLUSTER_SCOPE" $declared.scope)
    (list "CLUSTER_NAME" $declared.name)
    (list "CLUSTER_TYPE" $declared.type)
    (list "CLUSTER_LOCATION" $declared.location)
    (list "CLUSTER_TAGS" (join "\n" $tags)) }}
{{- if include "azpolicy.snapshot" . }}
{{- $settings = append $settings (list "SNAPSHOT" .Values.snapshot.path) }}
{{- end }}
{{- range $settings }}
{{- $value := index . 1 | toString }}
{{- if $value }}
- name: AZPOLICY_{{ index . 0 }}
  value: {{ quote $value }}
{{- end }}
{{- end }}
{{- if include "azpolicy.credential" . }}
{{- include "azpolicy.environ.azure" . | nindent 0 }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How Azure is reached, and as whom. */}}
{{- define "azpolicy.environ.azure" -}}
{{- $azure := .Values.azure }}
{{- $versions := list }}
{{- range $name, $version := $azure.apiVersions }}{{ $versions = append $versions (printf "%s=%s" $name $version) }}{{ end }}
{{- $files := dict "workload-identity" (list "AZURE_FEDERATED_TOKEN_FILE" "/var/run/secrets/azpolicy/azure/token")
                   "client-certificate" (list "AZURE_CLIENT_CERTIFICATE_PATH" "/var/run/secrets/azpolicy/azure/certificate.pem") }}
{{- $settings := list
    (list "AZPOLICY_CLOUD" $azure.cloud)
    (list "AZPOLICY_CLOUD_ENDPOINT" $azure.customCloud.endpoint)
    (list "AZPOLICY_CLOUD_AUDIENCE" $azure.customCloud.audience)
    (list "AZPOLICY_CLOUD_AUTHORITY" $azure.customCloud.authority)
    (list "AZPOLICY_CLOUD_CA_FILE" $azure.customCloud.caFile)
    (list "AZPOLICY_API_VERSIONS" (join " " $versions))
    (list "AZPOLICY_CREDENTIAL" $azure.credential)
    (list "AZURE_TENANT_ID" $azure.tenantId)
    (list "AZURE_CLIENT_ID" $azure.clientId)
    (get $files $azure.credential | default (list "" "")) }}
{{- range $settings }}
{{- if index . 1 }}
- name: {{ index . 0 }}
  value: {{ index . 1 | quote }}
{{- end }}
{{- end }}
{{- if eq $azure.credential "client-secret" }}
- name: AZURE_CLIENT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "azpolicy.secretName" . }}
      key: client-secret
{{- end }}
{{- end }}
