{{/* The set's name: of the StatefulSet, the governing Service and, with a suffix, of the rest. Short enough for a Pod's labels. */}}
{{- define "ordinal.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default "mysql" .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What makes a Pod one of the set: never changes. */}}
{{- define "ordinal.selector" -}}
app.kubernetes.io/name: {{ default "mysql" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: database
{{- end -}}

{{/* The same for Pods that are none of the set, with .component: "backup", "test". */}}
{{- define "ordinal.otherSelector" -}}
app.kubernetes.io/name: {{ default "mysql" .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* metadata of an object but for its name: namespace, labels, annotations. .labels and .annotations are its own. */}}
{{- define "ordinal.metadata" -}}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "ordinal.labels" .root | nindent 2 }}
  {{- with get . "labels" }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict (get . "annotations")) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ordinal.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ default "mysql" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: ordinal
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image's name out of .image and, for a missing tag, .tag. */}}
{{- define "ordinal.image" -}}
{{- with .image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest -}}@{{ .image.digest }}{{- else -}}:{{ default (get . "tag") .image.tag }}{{- end -}}
{{- end -}}

{{- define "ordinal.agentImage" -}}
{{- include "ordinal.image" (dict "image" .Values.agent.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{/* A value as a person wrote it: Helm has all numbers as floats, and would write 2147483648 as 2.147483648e+09. */}}
{{- define "ordinal.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* "native" or "plain". */}}
{{- define "ordinal.sidecar" -}}
{{- $native := semverCompare ">=1.29-0" .Capabilities.KubeVersion.Version -}}
{{- if eq .Values.agent.sidecar "auto" -}}
{{- ternary "native" "plain" $native -}}
{{- else -}}
{{- if and (eq .Values.agent.sidecar "native") (not $native) -}}
{{- fail (printf "agent.sidecar=native needs Kubernetes 1.29 or later, this is %s: use auto or plain" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- .Values.agent.sidecar -}}
{{- end -}}
{{- end -}}

{{- define "ordinal.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "ordinal.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ include "ordinal.scalar" .Values.podSecurityContext.runAsUser }}
runAsGroup: {{ include "ordinal.scalar" .Values.podSecurityContext.runAsGroup }}
fsGroup: {{ include "ordinal.scalar" .Values.podSecurityContext.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The environment of init and agent alike: who the Pod is, and the options. */}}
{{- define "ordinal.agentEnv" -}}
- {name: AGENT_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: AGENT_SERVICE, value: {{ include "ordinal.fullname" . }}}
- {name: AGENT_SECRET_FILE, value: /run/secrets/ordinal/cluster-secret}
{{- end -}}

{{- define "ordinal.agentOptions" -}}
{{- range $name, $value := .Values.agent.options }}
- name: AGENT_{{ $name | upper | replace "-" "_" }}
  value: {{ include "ordinal.scalar" $value | quote }}
{{- end }}
{{- include "ordinal.podStoreEnv" . }}
{{- include "ordinal.extraEnv" (dict "where" "agent.extraEnvVars" "list" .Values.agent.extraEnvVars) }}
{{- end -}}

{{/* Variables of the user's, .list, but no secret among them: values are in the release, and variables in every look at the Pod. */}}
{{- define "ordinal.extraEnv" -}}
{{- range .list }}
{{- if and (hasKey . "value") (regexMatch "(PASSWORD|SECRET|TOKEN|KEY)$" .name) }}
{{- fail (printf "%s: %s looks like a secret, and a secret is no value: name a file with it, or use valueFrom" $.where .name) }}
{{- end }}
{{- end }}
{{- with .list }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* "true" if the set's own Pods use the store. */}}
{{- define "ordinal.podsUseStore" -}}
{{- if or .Values.backup.archive .Values.backup.restoreFrom -}}
{{- if not .Values.backup.store -}}
{{- fail "backup.archive and backup.restoreFrom need backup.store" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{/* What whoever uses the store is told, beside its URL. */}}
{{- define "ordinal.storeEnv" -}}
{{- with .Values.backup }}
{{- if .credentialsSecret }}
- {name: AWS_SHARED_CREDENTIALS_FILE, value: /run/secrets/store/credentials}
{{- end }}
{{- if .encryption.recipients }}
- {name: AGENT_ENCRYPT_TO, value: {{ join "," .encryption.recipients | quote }}}
{{- end }}
{{- if .encryption.passphraseKey }}
- {name: AGENT_PASSPHRASE_FILE, value: /run/secrets/backup-keys/passphrase}
{{- end }}
{{- end }}
{{- end -}}

{{/* The same of the set's Pods, which may also decrypt. */}}
{{- define "ordinal.podStoreEnv" -}}
{{- if include "ordinal.podsUseStore" . }}
{{- with .Values.backup }}
{{- if .archive }}
- {name: AGENT_STORE, value: {{ .store | quote }}}
{{- end }}
{{- if .restoreFrom }}
- {name: AGENT_RESTORE_FROM, value: {{ printf "%s@%s" .store .restoreFrom | quote }}}
{{- end }}
{{- include "ordinal.storeEnv" $ }}
{{- if .encryption.identityKey }}
- {name: AGENT_IDENTITY_FILE, value: /run/secrets/backup-keys/identities}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Memory and CPU of init and agent: more where they use the store. */}}
{{- define "ordinal.agentResources" -}}
{{- if include "ordinal.podsUseStore" . -}}
{{- toYaml .Values.backup.podResources -}}
{{- else -}}
{{- toYaml .Values.agent.resources -}}
{{- end -}}
{{- end -}}

{{- define "ordinal.podStoreMounts" -}}
{{- if include "ordinal.podsUseStore" . -}}
{{- include "ordinal.storeMounts" (dict "root" . "set" true) -}}
{{- end -}}
{{- end -}}

{{- define "ordinal.podStoreVolumes" -}}
{{- if include "ordinal.podsUseStore" . -}}
{{- include "ordinal.storeVolumes" (dict "root" . "set" true) -}}
{{- end -}}
{{- end -}}

{{/* .set: for the set's Pods, which get the identities too. */}}
{{- define "ordinal.storeMounts" -}}
{{- with .root.Values.backup }}
{{- if .credentialsSecret }}
- {name: store, mountPath: /run/secrets/store, readOnly: true}
{{- end }}
{{- if or .encryption.passphraseKey (and $.set .encryption.identityKey) }}
- {name: backup-keys, mountPath: /run/secrets/backup-keys, readOnly: true}
{{- end }}
{{- if .existingClaim }}
- {name: backups, mountPath: /backups}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ordinal.storeVolumes" -}}
{{- with .root.Values.backup }}
{{- if .credentialsSecret }}
- name: store
  secret:
    secretName: {{ .credentialsSecret }}
    defaultMode: 0440
    items: [{key: credentials, path: credentials}]
{{- end }}
{{- if or .encryption.passphraseKey (and $.set .encryption.identityKey) }}
- name: backup-keys
  secret:
    secretName: {{ required "backup.encryption.existingSecret: which Secret has the keys?" .encryption.existingSecret }}
    defaultMode: 0440
    items:
      {{- if .encryption.passphraseKey }}
      - {key: {{ .encryption.passphraseKey }}, path: passphrase}
      {{- end }}
      {{- if and $.set .encryption.identityKey }}
      - {key: {{ .encryption.identityKey }}, path: identities}
      {{- end }}
{{- end }}
{{- if .existingClaim }}
- name: backups
  persistentVolumeClaim: {claimName: {{ .existingClaim }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The sidecar, an entry of initContainers or of containers. */}}
{{- define "ordinal.agentContainer" -}}
- name: agent
  image: {{ include "ordinal.agentImage" . }}
  imagePullPolicy: {{ .Values.agent.image.pullPolicy }}
  args: [run]
  {{- if eq (include "ordinal.sidecar" .) "native" }}
  restartPolicy: Always
  {{- end }}
  env:
    {{- include "ordinal.agentEnv" . | nindent 4 }}
    - {name: AGENT_ROOT_PASSWORD_FILE, value: /run/secrets/mysql/root-password}
    {{- with include "ordinal.agentOptions" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
  ports:
    - {name: ordinal-data, containerPort: 3307}
    - {name: ordinal-status, containerPort: 8080}
  # No startupProbe: mysqld is started after a native sidecar's has succeeded, and the agent's start-up needs mysqld.
  readinessProbe:
    httpGet: {path: /readyz, port: ordinal-status}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /livez, port: ordinal-status}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
    terminationGracePeriodSeconds: 5
  resources:
    {{- include "ordinal.agentResources" . | nindent 4 }}
  securityContext:
    {{- include "ordinal.restricted" . | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /var/lib/mysql}
    - {name: config, mountPath: /etc/mysql/conf.d}
    - {name: socket, mountPath: /var/run/mysqld}
    - {name: cluster-secret, mountPath: /run/secrets/ordinal, readOnly: true}
    - {name: root-password, mountPath: /run/secrets/mysql, readOnly: true}
    {{- with include "ordinal.podStoreMounts" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.agent.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* mysqld's arguments. What the agent writes into the server's configuration is refused: an argument would win over it. */}}
{{- define "ordinal.arguments" -}}
{{- $owned := list "datadir" "server_id" "report_host" "gtid_mode" "enforce_gtid_consistency" "log_bin" "skip_log_bin" "disable_log_bin" "relay_log" "relay_log_recovery" "skip_replica_start" "skip_slave_start" "replica_net_timeout" "slave_net_timeout" "super_read_only" "read_only" "offline_mode" -}}
{{- range $name, $value := .Values.configuration }}
{{- $plain := $name | lower | replace "-" "_" | trimPrefix "loose_" -}}
{{- if has $plain $owned -}}
{{- fail (printf "configuration.%s: the agent sets this, replication depends on it; see docs/requirements.md, Server" $name) -}}
{{- end }}
- {{ printf "--%s=%s" ($name | replace "_" "-") (include "ordinal.scalar" $value) | quote }}
{{- end }}
{{- end -}}

{{- define "ordinal.affinity" -}}
{{- if .Values.affinity -}}
{{- toYaml .Values.affinity -}}
{{- else if eq .Values.podAntiAffinityPreset "hard" -}}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "ordinal.selector" . | nindent 10 }}
{{- else if eq .Values.podAntiAffinityPreset "soft" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 1
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "ordinal.selector" . | nindent 12 }}
{{- end -}}
{{- end -}}

{{- define "ordinal.topologySpreadConstraints" -}}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "ordinal.selector" . | fromYaml)) -}}
{{- $nodes := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $all := list $nodes -}}
{{- if kindIs "slice" .Values.topologySpreadConstraints -}}
{{- $all = .Values.topologySpreadConstraints -}}
{{- end -}}
{{- range $all }}
- {{ merge (dict) . $selector | toYaml | indent 2 | trim }}
{{- end }}
{{- end -}}

{{- define "ordinal.clientLabel" -}}
{{ include "ordinal.fullname" . }}-client
{{- end -}}
