{{/* What the schema cannot say: values that are missing or do not fit together, all of them in one message. */}}
{{- define "azpolicy.validate" -}}
{{- $problems := concat (include "azpolicy.problems.source" . | fromJsonArray)
                        (include "azpolicy.problems.credential" . | fromJsonArray)
                        (include "azpolicy.problems.page" . | fromJsonArray)
                        (include "azpolicy.problems.cluster" . | fromJsonArray) }}
{{- with $problems }}
{{- fail (printf "these values do not work:\n  - %s" (join "\n  - " .)) }}
{{- end }}
{{- end }}

{{- define "azpolicy.problems.source" -}}
{{- $problems := list }}
{{- if not .Values.image.repository }}
{{- $problems = append $problems "image.repository is missing: build the image with deploy/Dockerfile and name it here" }}
{{- end }}
{{- if and .Values.snapshot.configMap .Values.snapshot.existingClaim }}
{{- $problems = append $problems "snapshot.configMap and snapshot.existingClaim exclude each other" }}
{{- end }}
{{- $declared := .Values.azure.declaredCluster }}
{{- if not (or .Values.azure.clusterId $declared.scope (include "azpolicy.snapshot" .)) }}
{{- $problems = append $problems "azure.clusterId is missing: the Azure resource id of this cluster (az aks show --query id); for a cluster that Azure does not know set azure.declaredCluster" }}
{{- end }}
{{- if and .Values.azure.clusterId $declared.scope }}
{{- $problems = append $problems "azure.clusterId and azure.declaredCluster exclude each other" }}
{{- end }}
{{- if and $declared.scope (not $declared.name) }}
{{- $problems = append $problems "azure.declaredCluster.name is missing: azure.declaredCluster.scope needs it" }}
{{- end }}
{{- if and (not $declared.scope) (or $declared.name $declared.type $declared.location $declared.tags) }}
{{- $problems = append $problems "azure.declaredCluster.scope is missing: without it nothing is declared" }}
{{- end }}
{{- $custom := .Values.azure.customCloud }}
{{- if eq .Values.azure.cloud "custom" }}
{{- if not $custom.endpoint }}
{{- $problems = append $problems "azure.cloud custom needs azure.customCloud.endpoint" }}
{{- end }}
{{- else if or $custom.endpoint $custom.audience $custom.authority $custom.caFile }}
{{- $problems = append $problems (printf "azure.customCloud belongs to azure.cloud custom, not %s" .Values.azure.cloud) }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{- define "azpolicy.problems.credential" -}}
{{- $problems := list }}
{{- $azure := .Values.azure }}
{{- $kind := include "azpolicy.credential" . }}
{{- $needed := dict "workload-identity" (list "tenantId" "clientId") "client-secret" (list "tenantId" "clientId")
                    "client-certificate" (list "tenantId" "clientId" "existingSecret") }}
{{- range get $needed $kind | default list }}
{{- if not (get $azure .) }}
{{- $problems = append $problems (printf "azure.%s is missing: azure.credential %s needs it" . $kind) }}
{{- end }}
{{- end }}
{{- if and (eq $kind "client-secret") (not (or $azure.existingSecret $azure.clientSecret)) }}
{{- $problems = append $problems "azure.credential client-secret needs azure.existingSecret, a Secret with the key client-secret" }}
{{- end }}
{{- if and $azure.existingSecret $azure.clientSecret }}
{{- $problems = append $problems "azure.existingSecret and azure.clientSecret exclude each other" }}
{{- end }}
{{- if and $azure.clientSecret (ne $kind "client-secret") }}
{{- $problems = append $problems "azure.clientSecret is given but not used: only azure.credential client-secret uses it" }}
{{- end }}
{{- if and $azure.existingSecret (not (has $kind (list "client-secret" "client-certificate"))) }}
{{- $problems = append $problems "azure.existingSecret is given but not used: only azure.credential client-secret or client-certificate uses it" }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{- define "azpolicy.problems.page" -}}
{{- $problems := list }}
{{- if and .Values.page.service.enabled (not .Values.page.enabled) }}
{{- $problems = append $problems "page.service.enabled needs page.enabled" }}
{{- end }}
{{- if and (include "azpolicy.pageService" .) .Values.networkPolicy.enabled (not .Values.page.service.from) }}
{{- $problems = append $problems "page.service.from is missing: the page has no login, so name the pods of the proxy that has one (NetworkPolicyPeers)" }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{/* `lookup` finds nothing where helm has no cluster to ask: then nothing is said of it. */}}
{{- define "azpolicy.problems.cluster" -}}
{{- $problems := list }}
{{- /* Many have rights there, and the operator's ServiceAccount would get some in it. */}}
{{- if has .Release.Namespace (list "kube-system" "kube-public" "kube-node-lease") }}
{{- $problems = append $problems (printf "the namespace %s is Kubernetes' own: give azpolicy one of its own, --namespace azpolicy-system --create-namespace" .Release.Namespace) }}
{{- end }}
{{- $annotations := (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "policysyncs.azpolicy.dev").metadata | default dict | dig "annotations" dict }}
{{- $release := get $annotations "meta.helm.sh/release-name" }}
{{- $home := get $annotations "meta.helm.sh/release-namespace" }}
{{- if and $release (or (ne $release .Release.Name) (ne $home .Release.Namespace)) }}
{{- $problems = append $problems (printf "release %s in namespace %s has installed PolicySync here, and a cluster has one azpolicy: upgrade that release instead; if it was uninstalled and left its kinds, hand them over: kubectl annotate --overwrite customresourcedefinition policysyncs.azpolicy.dev assignedpolicies.azpolicy.dev meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s" $release $home .Release.Name .Release.Namespace) }}
{{- end }}
{{- $namespace := include "azpolicy.gatekeeperNamespace" . }}
{{- if .Values.gatekeeper.enabled }}
{{- if ne .Release.Namespace $namespace }}
{{- $problems = append $problems (printf "gatekeeper.enabled installs Gatekeeper in the release's namespace, which has to be %s: give --namespace %s --create-namespace" $namespace $namespace) }}
{{- end }}
{{- else if and (lookup "v1" "Namespace" "" "default") (not (lookup "v1" "Namespace" "" $namespace)) }}
{{- $problems = append $problems (printf "there is no namespace %s in this cluster: install Gatekeeper first, or set gatekeeper.enabled" $namespace) }}
{{- end }}
{{- toJson $problems }}
{{- end }}
