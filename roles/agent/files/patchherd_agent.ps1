# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#Requires -Version 5.1
<#
.SYNOPSIS
    The Patchherd agent for Windows: collects one report about this computer and sends it. It only reports.
.DESCRIPTION
    One file for Windows PowerShell 5.1. Nothing that the server answers is ever executed. Run it as SYSTEM or as an
    administrator; -DryRun works for everybody and shows what that user may see.
.PARAMETER Config
    File with server address and credentials.
.PARAMETER Once
    Report once: in full when something changed, else a sign of life.
.PARAMETER Full
    With -Once: send the full report whatever has changed.
.PARAMETER DryRun
    Print the report and send nothing.
.PARAMETER Install
    Register the scheduled task that runs this file every four minutes.
.PARAMETER Uninstall
    Remove the task, the state, the credentials and this file.
.PARAMETER Join
    Fetch credentials: reads Base64 of a JSON object from standard input (server, api_version, ca_certificate, and either
    bootstrap_token or token_key, token_secret, friendly_name).
#>
[CmdletBinding()]
param(
    [string]$Config = (Join-Path -Path $env:ProgramData -ChildPath 'Patchherd\agent.json'),
    [switch]$Once,
    [switch]$Full,
    [switch]$DryRun,
    [switch]$Install,
    [switch]$Uninstall,
    [switch]$Join
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$AgentVersion = '0.1.0'
$FullReportEvery = 24 * 3600
$CollectEvery = 3600
$HeartbeatEvery = 240  # the server calls a host online for 300 s after a sign of life
$MaxAgentBytes = 2 * 1024 * 1024
$TaskName = 'Patchherd agent'
$Gibibyte = 1073741824
$DataDirectory = Split-Path -Path $Config -Parent
$CaFile = Join-Path -Path $DataDirectory -ChildPath 'ca.pem'
$StateFile = Join-Path -Path $DataDirectory -ChildPath 'state.json'
$SpoolFile = Join-Path -Path $DataDirectory -ChildPath 'spool.json'
# SYSTEM and Administrators, by identifiers that no language of Windows changes
$Trusted = @('S-1-5-18', 'S-1-5-32-544')
$GatedHashes = @('packagesHash', 'reposHash', 'interfacesHash', 'hostnameHash')
$Utf8 = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false

# ---------------------------------------------------------------------------- small things

function Get-RegistryValue {
    # One value of HKEY_LOCAL_MACHINE, $null when it is absent or cannot be read.
    param([string]$Key, [string]$Name)
    try {
        return [Microsoft.Win32.Registry]::GetValue("HKEY_LOCAL_MACHINE\$Key", $Name, $null)
    } catch [System.Security.SecurityException] {
        return $null
    }
}

function Test-RegistryKey {
    param([string]$Key)
    return (Test-Path -LiteralPath "HKLM:\$Key")
}

function ConvertTo-IsoTime {
    param([datetime]$Time)
    return $Time.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
}

function ConvertTo-CompactJson {
    param($Value)
    return (ConvertTo-Json -InputObject $Value -Depth 8 -Compress)
}

function Get-ByteDigest {
    # SHA-256 of bytes, in hexadecimal.
    param([byte[]]$Bytes)
    $algorithm = [Security.Cryptography.SHA256]::Create()
    try {
        return ([BitConverter]::ToString($algorithm.ComputeHash($Bytes)) -replace '-', '').ToLowerInvariant()
    } finally {
        $algorithm.Dispose()
    }
}

function Get-Digest {
    # SHA-256 of a text, in hexadecimal.
    param([string]$Text)
    return (Get-ByteDigest -Bytes $Utf8.GetBytes($Text))
}

function Get-Short {
    # A text without control characters and at most as long as the server takes it.
    param($Text, [int]$Length = 255)
    $clean = ([string]$Text -replace '[\x00-\x1f]', ' ').Trim()
    if ($clean.Length -gt $Length) {
        return $clean.Substring(0, $Length)
    }
    return $clean
}

function Get-UnixTime {
    # Seconds since 1970, UTC.
    return [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
}

function Read-JsonFile {
    # The object in a JSON file, $null when there is none or it is damaged.
    param([string]$Path)
    try {
        return (ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($Path)))
    } catch {
        return $null
    }
}

function Write-TextFile {
    # Replaces a file at once; it inherits the rights of its directory.
    param([string]$Path, [string]$Text)
    $temporary = "$Path.new"
    [IO.File]::WriteAllText($temporary, $Text, $Utf8)
    if ([IO.File]::Exists($Path)) {
        [IO.File]::Replace($temporary, $Path, [NullString]::Value)
    } else {
        [IO.File]::Move($temporary, $Path)
    }
}

function Get-Property {
    # A property of an object that may lack it.
    param($Object, [string]$Name, $Default = $null)
    if ($null -ne $Object -and $null -ne $Object.PSObject.Properties[$Name]) {
        return $Object.$Name
    }
    return $Default
}

# ---------------------------------------------------------------------------- updates and software

# The names of categories depend on the language of Windows, their identifiers do not.
$Classifications = @{
    '0fa1201d-4330-4fa8-8ae9-b877473b6441' = 'Security Updates'
    '28bc880e-0592-4cbf-8f95-c79b17911d5f' = 'Update Rollups'
    '3689bdc8-b205-4af4-8d4a-a63924c5e9d5' = 'Upgrades'
    '68c5b0a3-d1a6-4553-ae49-01d3a7827828' = 'Service Packs'
    'b4832bd8-e735-4761-8daf-37f882276dab' = 'Tools'
    'b54e7d24-7add-428f-8b75-90a396fa584f' = 'Feature Packs'
    'cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83' = 'Updates'
    'e0789628-ce08-4437-be74-2495b842f43b' = 'Definition Updates'
    'e6cf1350-c01b-414d-a61f-263d14d133b4' = 'Critical Updates'
    'ebfc1fc5-71a4-4f7b-9aca-3b9a503104a0' = 'Drivers'
}

function ConvertTo-UpdateItem {
    # One update of the Windows Update Agent as a package of the report.
    param($Update)
    $categories = New-Object -TypeName System.Collections.Generic.List[string]
    foreach ($category in $Update.Categories) {
        $known = $Classifications[([string]$category.CategoryID).ToLowerInvariant()]
        $categories.Add($(if ($known) { $known } else { Get-Short -Text $category.Name }))
    }
    $articles = @(foreach ($number in $Update.KBArticleIDs) { "KB$number" })
    $severity = Get-Short -Text $Update.MsrcSeverity
    $behaviour = 'unknown'
    try {
        $behaviour = @('never', 'always', 'can_request')[[int]$Update.InstallationBehavior.RebootBehavior]
    } catch {
        Write-Verbose -Message "no reboot behaviour: $_"
    }
    return [ordered]@{
        name = Get-Short -Text $Update.Title
        currentVersion = ''
        needsUpdate = $true
        isSecurityUpdate = ($severity -ne '') -or $categories.Contains('Security Updates')
        held = [bool]$Update.IsHidden
        category = $(if ($categories.Count) { $categories[0] } else { 'Updates' })
        description = Get-Short -Text $Update.Description -Length 2000
        size = [long]$Update.MaxDownloadSize
        rebootBehaviour = $behaviour
        wuaGuid = [string]$Update.Identity.UpdateID
        wuaKb = $(if ($articles.Count) { $articles -join ',' } else { $null })
        wuaSeverity = $(if ($severity) { $severity } else { $null })
        wuaCategories = @($categories)
        wuaSupportUrl = Get-Short -Text $Update.SupportUrl -Length 1000
    }
}

function Get-OfferedUpdate {
    # Updates that are not installed, hidden ones included; `complete` tells whether the search saw everything.
    $found = @{ updates = @(); complete = $false; problems = @() }
    try {
        $session = New-Object -ComObject 'Microsoft.Update.Session'
        $session.ClientApplicationID = 'Patchherd agent'
        $result = $session.CreateUpdateSearcher().Search('IsInstalled=0')
        $found.updates = @(foreach ($update in $result.Updates) { ConvertTo-UpdateItem -Update $update })
        $found.complete = ([int]$result.ResultCode -eq 2)
        $found.problems = @(foreach ($warning in $result.Warnings) {
                'Windows Update search: 0x{0:X8} {1}' -f $warning.HResult, (Get-Short -Text $warning.Message)
            })
        if (-not $found.complete -and -not $found.problems.Count) {
            $found.problems = @("Windows Update search ended with result code $([int]$result.ResultCode)")
        }
    } catch {
        $code = '0x{0:X8}' -f $_.Exception.HResult
        $found.problems = @("Windows Update search failed: $code $(Get-Short -Text $_.Exception.Message)")
    }
    return $found
}

function Get-InstalledSoftware {
    # What the uninstall keys of both registry views list, as packages of the report.
    $seen = @{}
    foreach ($view in @('Registry64', 'Registry32')) {
        $hive = [Microsoft.Win32.RegistryKey]::OpenBaseKey('LocalMachine', $view)
        $root = $hive.OpenSubKey('SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall')
        if ($null -eq $root) {
            continue
        }
        foreach ($child in $root.GetSubKeyNames()) {
            $key = $root.OpenSubKey($child)
            if ($null -eq $key) {
                continue
            }
            $name = Get-Short -Text $key.GetValue('DisplayName')
            # Updates of a program and parts of Windows have entries, too.
            if ($name -and $key.GetValue('SystemComponent') -ne 1 -and -not $key.GetValue('ParentKeyName')) {
                $version = Get-Short -Text $key.GetValue('DisplayVersion')
                if (-not $version) {
                    $version = 'unknown'
                }
                $architecture = $(if ($view -eq 'Registry64' -and [Environment]::Is64BitOperatingSystem) { 'x64' } else { 'x86' })
                # On a 32-bit system both views are the same.
                $seen["$name|$version|$architecture"] = [ordered]@{
                    name = $name
                    currentVersion = $version
                    architecture = $architecture
                    needsUpdate = $false
                    category = 'Software'
                    description = Get-Short -Text $key.GetValue('Publisher')
                }
            }
            $key.Close()
        }
        $root.Close()
    }
    return @($seen.Values)
}

function Get-InstalledHotfix {
    # Installed hotfixes as packages of the report.
    $seen = @{}
    foreach ($fix in @(Get-CimInstance -ClassName Win32_QuickFixEngineering)) {
        if ($fix.HotFixID) {
            $seen[[string]$fix.HotFixID] = [ordered]@{
                name = Get-Short -Text $fix.HotFixID
                currentVersion = 'installed'
                needsUpdate = $false
                category = 'Hotfix'
                description = Get-Short -Text $fix.Description
            }
        }
    }
    return @($seen.Values)
}

function Get-UpdateSource {
    # Where this computer gets its updates from.
    $policy = 'SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
    $server = [string](Get-RegistryValue -Key $policy -Name 'WUServer')
    if ($server -and (Get-RegistryValue -Key "$policy\AU" -Name 'UseWUServer') -eq 1) {
        $name = 'WSUS'
    } else {
        $name = 'Windows Update'
        $server = ''
    }
    return [ordered]@{
        name = $name
        url = $server
        distribution = ''
        components = ''
        repoType = 'windows'
        isEnabled = $true
        isSecure = ($server -eq '') -or $server.StartsWith('https:', [StringComparison]::OrdinalIgnoreCase)
    }
}

# ---------------------------------------------------------------------------- the computer

function Get-PendingRebootReason {
    # Why Windows wants to be restarted; nothing when it does not.
    $current = 'SOFTWARE\Microsoft\Windows\CurrentVersion'
    $manager = 'SYSTEM\CurrentControlSet\Control\Session Manager'
    $names = 'SYSTEM\CurrentControlSet\Control\ComputerName'
    if (Test-RegistryKey -Key "$current\Component Based Servicing\RebootPending") {
        'Component servicing has work to finish'
    }
    if (Test-RegistryKey -Key "$current\Component Based Servicing\PackagesPending") {
        'Component servicing has packages to finish'
    }
    if (Test-RegistryKey -Key "$current\WindowsUpdate\Auto Update\RebootRequired") {
        'Windows Update asks for a reboot'
    }
    foreach ($name in @('PendingFileRenameOperations', 'PendingFileRenameOperations2')) {
        if (@(Get-RegistryValue -Key $manager -Name $name | Where-Object -FilterScript { $_ }).Count) {
            "Files are replaced at the next start ($name)"
        }
    }
    $active = Get-RegistryValue -Key "$names\ActiveComputerName" -Name 'ComputerName'
    if ($active -ne (Get-RegistryValue -Key "$names\ComputerName" -Name 'ComputerName')) {
        'The computer gets another name'
    }
    foreach ($name in @('JoinDomain', 'AvoidSpnSet')) {
        if ($null -ne (Get-RegistryValue -Key 'SYSTEM\CurrentControlSet\Services\Netlogon' -Name $name)) {
            "The computer joins a domain ($name)"
        }
    }
    if ([int](Get-RegistryValue -Key 'SOFTWARE\Microsoft\Updates' -Name 'UpdateExeVolatile') -ne 0) {
        'An update installer asks for a reboot'
    }
}

function Get-Build {
    # Version of Windows with its update revision: 10.0.20348.2340.
    $windows = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $version = [Environment]::OSVersion.Version
    $revision = Get-RegistryValue -Key $windows -Name 'UBR'
    $number = Get-RegistryValue -Key $windows -Name 'CurrentBuildNumber'
    return '{0}.{1}.{2}.{3}' -f $version.Major, $version.Minor, $number, [int]$revision
}

function Get-Fingerprint {
    # Cheap evidence that nothing a report is made of has changed since the last search.
    $system = Get-CimInstance -ClassName Win32_OperatingSystem -Property LastBootUpTime
    $parts = @((ConvertTo-IsoTime -Time $system.LastBootUpTime), (Get-Build), $env:COMPUTERNAME, $AgentVersion)
    return (Get-Digest -Text (($parts + @(Get-PendingRebootReason)) -join '|'))
}

function Get-PrefixLength {
    # `24` from `255.255.255.0`; IPv6 has it as a number already.
    param([string]$Mask)
    if ($Mask -notmatch '\.') {
        return $Mask
    }
    $bits = foreach ($byte in ([Net.IPAddress]$Mask).GetAddressBytes()) { [Convert]::ToString($byte, 2) }
    return [string](($bits -join '').Replace('0', '').Length)
}

function Get-NetworkReport {
    # Interfaces, gateway, resolvers and the address of the interface that leads out.
    $filter = @{ ClassName = 'Win32_NetworkAdapterConfiguration'; Filter = 'IPEnabled = TRUE' }
    $cards = @(Get-CimInstance @filter)
    $interfaces = @(foreach ($card in $cards) {
            $adapter = Get-CimInstance -ClassName Win32_NetworkAdapter -Filter "Index = $($card.Index)"
            $numbers = @($card.IPAddress | Where-Object -FilterScript { $_ })
            $masks = @($card.IPSubnet)
            $addresses = @(for ($index = 0; $index -lt $numbers.Count; $index++) {
                    $address = [string]$numbers[$index]
                    [ordered]@{
                        address = $address
                        family = $(if ($address.Contains(':')) { 'inet6' } else { 'inet' })
                        netmask = Get-PrefixLength -Mask ([string]$masks[$index])
                    }
                })
            $name = Get-Short -Text (Get-Property -Object $adapter -Name 'NetConnectionID')
            [ordered]@{
                name = $(if ($name) { $name } else { Get-Short -Text $card.Description })
                mac = ([string]$card.MACAddress).ToLowerInvariant()
                macAddress = ([string]$card.MACAddress).ToLowerInvariant()
                ip = [string](@($addresses | ForEach-Object -Process { $_.address }) | Select-Object -First 1)
                addresses = $addresses
            }
        })
    $leading = @($cards | Where-Object -FilterScript { $_.DefaultIPGateway } | Sort-Object -Property IPConnectionMetric)
    $first = @(@($leading) + @($cards) | Select-Object -First 1)
    return @{
        networkInterfaces = $interfaces
        gatewayIp = [string](@($leading | ForEach-Object -Process { $_.DefaultIPGateway }) | Select-Object -First 1)
        dnsServers = @($cards | ForEach-Object -Process { $_.DNSServerSearchOrder } | Where-Object -FilterScript { $_ } |
                Select-Object -Unique)
        ip = [string](@($first | ForEach-Object -Process { $_.IPAddress }) | Select-Object -First 1)
    }
}

function Get-DiskReport {
    foreach ($disk in @(Get-CimInstance -ClassName Win32_LogicalDisk -Filter 'DriveType = 3')) {
        if ($disk.Size) {
            [ordered]@{
                device = [string]$disk.DeviceID
                mountPoint = "$($disk.DeviceID)\"
                size = Format-Gibibyte -Bytes $disk.Size
                used = Format-Gibibyte -Bytes ($disk.Size - $disk.FreeSpace)
                available = Format-Gibibyte -Bytes $disk.FreeSpace
            }
        }
    }
}

function Format-Gibibyte {
    param([double]$Bytes)
    return ($Bytes / $Gibibyte).ToString('0.0', [Globalization.CultureInfo]::InvariantCulture) + 'GB'
}

function Get-SshHostKey {
    # Public SSH host keys, type and key without comment.
    $pattern = Join-Path -Path $env:ProgramData -ChildPath 'ssh\ssh_host_*_key.pub'
    foreach ($file in @(Get-Item -Path $pattern -ErrorAction SilentlyContinue)) {
        $parts = @([IO.File]::ReadAllText($file.FullName) -split '\s+')
        if ($parts.Count -gt 1) {
            "$($parts[0]) $($parts[1])"
        }
    }
}

function Get-Report {
    # The whole report of this computer.
    $started = Get-Date
    $system = Get-CimInstance -ClassName Win32_OperatingSystem
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    $processors = @(Get-CimInstance -ClassName Win32_Processor)
    $paging = @(Get-CimInstance -ClassName Win32_PageFileUsage)
    $network = Get-NetworkReport
    $offered = Get-OfferedUpdate
    $packages = @(@($offered.updates) + @(Get-InstalledSoftware) + @(Get-InstalledHotfix) |
            Sort-Object -Property { $_.name }, { $_.currentVersion }, { [string]$_['architecture'] }, { [string]$_['wuaGuid'] })
    $reasons = @(Get-PendingRebootReason)
    $uptime = (Get-Date) - $system.LastBootUpTime
    $build = Get-Build
    $swap = 0.0
    foreach ($file in $paging) {
        $swap += $file.AllocatedBaseSize / 1024
    }
    $cores = 0
    foreach ($processor in $processors) {
        $cores += $processor.NumberOfCores
    }
    return [ordered]@{
        reportVersion = 1
        agentVersion = $AgentVersion
        collectedAt = ConvertTo-IsoTime -Time $started
        hostname = [Net.Dns]::GetHostName()
        ip = $network.ip
        machineId = [string](Get-RegistryValue -Key 'SOFTWARE\Microsoft\Cryptography' -Name 'MachineGuid')
        architecture = [string]$env:PROCESSOR_ARCHITECTURE
        osType = Get-Short -Text $system.Caption
        osVersion = $build
        osId = 'windows'
        osIdLike = @()
        osVersionId = [string]$system.Version
        osCodename = [string](Get-RegistryValue -Key 'SOFTWARE\Microsoft\Windows NT\CurrentVersion' -Name 'DisplayVersion')
        packageManager = 'windows'
        ecosystem = 'windows'
        sections = @('packages', 'repos', 'interfaces', 'hostname')
        packages = $packages
        repositories = @(Get-UpdateSource)
        metadataUpdated = $(if ($offered.complete) { ConvertTo-IsoTime -Time $started } else { $null })
        problems = @($offered.problems)
        cpuModel = Get-Short -Text $processors[0].Name
        cpuCores = $cores
        ramInstalled = [Math]::Round($computer.TotalPhysicalMemory / $Gibibyte, 2)
        swapSize = [Math]::Round($swap, 2)
        diskDetails = @(Get-DiskReport)
        gatewayIp = $network.gatewayIp
        dnsServers = @($network.dnsServers)
        networkInterfaces = @($network.networkInterfaces)
        kernelVersion = $build
        installedKernelVersion = $null
        systemUptime = '{0} days, {1} hours, {2} minutes' -f $uptime.Days, $uptime.Hours, $uptime.Minutes
        bootId = ConvertTo-IsoTime -Time $system.LastBootUpTime
        needsReboot = ($reasons.Count -gt 0)
        rebootReason = $(if ($reasons.Count) { $reasons -join '; ' } else { $null })
        sshHostKeys = @(Get-SshHostKey)
        executionTime = [Math]::Round(((Get-Date) - $started).TotalSeconds, 3)
    }
}

function Get-ReportHash {
    # Hashes that tell what changed between two reports; stateHash covers what has none of its own on the wire.
    param($Report)
    $names = @('needsReboot', 'rebootReason', 'bootId', 'osVersion', 'problems', 'sshHostKeys', 'agentVersion')
    $state = @(foreach ($name in $names) { , $Report[$name] }) + @($null -eq $Report.metadataUpdated)
    return [ordered]@{
        packagesHash = Get-Digest -Text (ConvertTo-CompactJson -Value @($Report.packages))
        reposHash = Get-Digest -Text (ConvertTo-CompactJson -Value @($Report.repositories))
        interfacesHash = Get-Digest -Text ($Report.ip + (ConvertTo-CompactJson -Value @($Report.networkInterfaces)))
        hostnameHash = Get-Digest -Text $Report.hostname
        stateHash = Get-Digest -Text (ConvertTo-CompactJson -Value $state)
    }
}

# ---------------------------------------------------------------------------- transport

# A compiled class: .NET checks certificates on threads where no PowerShell can run.
$TrustSource = @'
using System;
using System.Linq;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

public sealed class PatchherdTrust
{
    private readonly X509Certificate2[] authorities;

    public PatchherdTrust(X509Certificate2[] authorities)
    {
        this.authorities = authorities;
    }

    // True for a server of the right name whose chain ends at one of the given authorities; what Windows trusts counts nothing.
    public bool Check(object sender, X509Certificate certificate, X509Chain chain, SslPolicyErrors errors)
    {
        if (certificate == null || (errors & ~SslPolicyErrors.RemoteCertificateChainErrors) != SslPolicyErrors.None)
        {
            return false;
        }
        X509Chain own = new X509Chain();
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
        own.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        own.ChainPolicy.ExtraStore.AddRange(authorities);
        if (chain != null)
        {
            foreach (X509ChainElement element in chain.ChainElements)
            {
                own.ChainPolicy.ExtraStore.Add(element.Certificate);
            }
        }
        if (!own.Build(new X509Certificate2(certificate)))
        {
            return false;
        }
        byte[] root = own.ChainElements[own.ChainElements.Count - 1].Certificate.RawData;
        return authorities.Any(authority => authority.RawData.SequenceEqual(root));
    }
}
'@

function Get-Trust {
    # What a connection is verified with: a callback for the certificates of a PEM text; $null when there is none.
    param([string]$Pem)
    if (-not $Pem) {
        return $null
    }
    $blocks = [regex]::Matches($Pem, '-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----')
    $authorities = @(foreach ($block in $blocks) {
            $bytes = [Convert]::FromBase64String(($block.Groups[1].Value -replace '\s', ''))
            New-Object -TypeName Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList (, $bytes)
        })
    if (-not $authorities.Count) {
        throw 'the CA file holds no certificate'
    }
    if (-not ('PatchherdTrust' -as [type])) {
        Add-Type -TypeDefinition $TrustSource
    }
    $trust = [PatchherdTrust]::new([Security.Cryptography.X509Certificates.X509Certificate2[]]$authorities)
    return [Delegate]::CreateDelegate([Net.Security.RemoteCertificateValidationCallback], $trust, 'Check')
}

function Get-Client {
    # What requests need: server, credentials, trust. The same host waits the same share of each delay.
    param([string]$Server, [string]$ApiVersion, [hashtable]$Headers, [string]$Pem, [string]$Seed)
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    [Net.ServicePointManager]::Expect100Continue = $false
    return @{
        base = '{0}/api/{1}' -f $Server.TrimEnd('/'), $ApiVersion
        headers = $Headers
        trust = Get-Trust -Pem $Pem
        random = New-Object -TypeName Random -ArgumentList ([Convert]::ToInt32((Get-Digest -Text $Seed).Substring(0, 7), 16))
    }
}

function Read-Answer {
    # The body of an answer, at most a megabyte.
    param($Response)
    $reader = [IO.StreamReader]::new($Response.GetResponseStream(), $Utf8)
    try {
        $buffer = [char[]]::new(1048576)
        $count = $reader.ReadBlock($buffer, 0, $buffer.Length)
        return [string]::new($buffer, 0, $count)
    } finally {
        $reader.Dispose()
        $Response.Close()
    }
}

function New-Request {
    # A request that carries the credentials and follows no redirect, which would carry them elsewhere.
    param($Client, [string]$Path, [string]$Method)
    $request = [Net.HttpWebRequest][Net.WebRequest]::Create($Client.base + $Path)
    $request.Method = $Method
    $request.Accept = 'application/json'
    $request.UserAgent = "patchherd-agent/$AgentVersion"
    $request.AllowAutoRedirect = $false
    $request.Timeout = 60000
    $request.ReadWriteTimeout = 60000
    foreach ($name in $Client.headers.Keys) {
        $request.Headers.Add($name, $Client.headers[$name])
    }
    if ($null -ne $Client.trust) {
        $request.ServerCertificateValidationCallback = $Client.trust
    }
    return $request
}

function Receive-Byte {
    # GETs something, once; at most $Limit bytes, and all of them.
    param($Client, [string]$Path, [int]$Limit)
    $url = $Client.base + $Path
    $request = New-Request -Client $Client -Path $Path -Method 'GET'
    $response = $request.GetResponse()
    try {
        $status = [int]$response.StatusCode
        if ($status -ne 200) {
            throw "$url answered $status"
        }
        $stream = $response.GetResponseStream()
        $content = New-Object -TypeName IO.MemoryStream
        $buffer = [byte[]]::new(65536)
        while (($count = $stream.Read($buffer, 0, $buffer.Length)) -gt 0) {
            $content.Write($buffer, 0, $count)
            if ($content.Length -gt $Limit) {
                throw "$url answered with more than $Limit bytes"
            }
        }
        if ($response.ContentLength -ge 0 -and $response.ContentLength -ne $content.Length) {
            throw "${url}: the answer is cut short"
        }
        return , $content.ToArray()
    } finally {
        $response.Close()
    }
}

function Send-Json {
    # POSTs a JSON text, compressed; returns the decoded answer. Network failures, 429 and 5xx are tried again with
    # growing delays, everything else is final, a redirect too.
    param($Client, [string]$Path, [string]$Json, [int]$Attempts = 5)
    $compressed = New-Object -TypeName IO.MemoryStream
    $zip = New-Object -TypeName IO.Compression.GZipStream -ArgumentList $compressed, ([IO.Compression.CompressionMode]::Compress)
    $bytes = $Utf8.GetBytes($Json)
    $zip.Write($bytes, 0, $bytes.Length)
    $zip.Dispose()
    $body = $compressed.ToArray()
    $url = $Client.base + $Path
    for ($attempt = 0; $attempt -lt $Attempts; $attempt++) {
        $wait = 5.0 * [Math]::Pow(2, $attempt) * (0.5 + $Client.random.NextDouble())
        try {
            $request = New-Request -Client $Client -Path $Path -Method 'POST'
            $request.ContentType = 'application/json'
            $request.Headers.Add('Content-Encoding', 'gzip')
            $request.ContentLength = $body.Length
            $stream = $request.GetRequestStream()
            $stream.Write($body, 0, $body.Length)
            $stream.Dispose()
            $response = $request.GetResponse()
            $status = [int]$response.StatusCode
            $text = Read-Answer -Response $response
            if ($status -lt 300) {
                return (ConvertFrom-Json -InputObject $text)
            }
            throw "$url answered $status"
        } catch [Net.WebException] {
            $failure = $_.Exception
            while ($failure -isnot [Net.WebException]) {
                $failure = $failure.InnerException
            }
            $answer = $failure.Response
            if ($null -ne $answer) {
                $status = [int]$answer.StatusCode
                $asked = 0.0
                [void][double]::TryParse([string]$answer.Headers['Retry-After'], [ref]$asked)
                $problem = '{0} answered {1}: {2}' -f $url, $status, (Get-Short -Text (Read-Answer -Response $answer) -Length 500)
                if ($status -ne 429 -and $status -lt 500) {
                    throw $problem
                }
                $wait = [Math]::Max($wait, [Math]::Min($asked, 300.0))
            } else {
                $problem = "cannot reach ${url}: $($failure.Message)"
                if ($failure.Status -eq [Net.WebExceptionStatus]::TrustFailure) {
                    throw $problem
                }
            }
        }
        if ($attempt + 1 -lt $Attempts) {
            Start-Sleep -Milliseconds ([int]($wait * 1000))
        }
    }
    throw $problem
}

function Assert-PrivateFile {
    # Refuses a file of credentials that others than SYSTEM and Administrators may read or have made.
    param([string]$Path)
    $kind = [Security.Principal.SecurityIdentifier]
    $rights = Get-Acl -LiteralPath $Path
    $own = [Security.Principal.WindowsIdentity]::GetCurrent().User.Value
    if (($Trusted + $own) -notcontains $rights.GetOwner($kind).Value) {
        throw "$Path belongs to somebody else than SYSTEM or Administrators"
    }
    foreach ($rule in $rights.GetAccessRules($true, $true, $kind)) {
        if ($rule.AccessControlType -eq 'Allow' -and ($Trusted + $own) -notcontains $rule.IdentityReference.Value) {
            throw "$Path holds credentials and may be open to SYSTEM and Administrators only"
        }
    }
}

function Get-ConfiguredClient {
    # The client with this host's credentials.
    if (-not [IO.File]::Exists($Config)) {
        throw "cannot read $Config"
    }
    Assert-PrivateFile -Path $Config
    $settings = Read-JsonFile -Path $Config
    foreach ($name in @('server', 'api_id', 'api_key')) {
        $value = Get-Property -Object $settings -Name $name
        if ($value -isnot [string] -or $value -eq '' -or $value -match '[\r\n]') {
            throw "${Config}: $name is missing or not usable"
        }
    }
    if ($settings.server -notmatch '^https?://') {
        throw "${Config}: server must be an http or https address"
    }
    $pem = ''
    $file = Get-Property -Object $settings -Name 'ca_file'
    if ($file) {
        $pem = [IO.File]::ReadAllText($file)
        if (-not $pem.Trim()) {
            throw "the CA file $file is empty"
        }
    }
    $client = @{
        Server = $settings.server
        ApiVersion = Get-Property -Object $settings -Name 'api_version' -Default 'v1'
        Headers = @{ 'X-API-ID' = $settings.api_id; 'X-API-KEY' = $settings.api_key }
        Pem = $pem
        Seed = $env:COMPUTERNAME + $settings.api_id
    }
    return (Get-Client @client)
}

function Send-Report {
    # Sends a report; keeps it in the spool when that fails, remembers its hashes once the server has taken it.
    param($Client, $Report)
    $hashes = Get-ReportHash -Report $Report
    $gated = [ordered]@{}
    foreach ($name in $GatedHashes) {
        $gated[$name] = $hashes[$name]
    }
    $Report['hashes'] = $gated
    $json = ConvertTo-CompactJson -Value $Report
    try {
        [void](Send-Json -Client $Client -Path '/hosts/update' -Json $json)
    } catch {
        Write-TextFile -Path $SpoolFile -Text $json
        throw
    }
    $state = [ordered]@{
        hashes = $hashes
        sent = Get-UnixTime
        collected = Get-UnixTime
        fingerprint = Get-Fingerprint
        metadataUpdated = $Report.metadataUpdated
        bootId = $Report.bootId
    }
    Write-TextFile -Path $StateFile -Text (ConvertTo-CompactJson -Value $state)
    Remove-Item -LiteralPath $SpoolFile -Force -ErrorAction SilentlyContinue
}

function Send-Ping {
    # Says that the host is alive and what it last reported; true when the server wants a full report.
    param($Client, $State)
    $gated = [ordered]@{}
    foreach ($name in $GatedHashes) {
        $gated[$name] = [string]$State.hashes.$name
    }
    $body = [ordered]@{
        hashes = $gated
        agentVersion = $AgentVersion
        metadataUpdated = $State.metadataUpdated
        bootId = $State.bootId
    }
    $answer = Send-Json -Client $Client -Path '/hosts/ping' -Json (ConvertTo-CompactJson -Value $body)
    $wanted = @(Get-Property -Object $answer -Name 'requestFull' -Default @())
    return ((Get-Property -Object $answer -Name 'hashGate') -eq $true -and $wanted.Count -gt 0)
}

function Read-State {
    # What the last run has left, $null when something of it is missing.
    $state = Read-JsonFile -Path $StateFile
    foreach ($name in @('hashes', 'sent', 'collected', 'fingerprint', 'metadataUpdated', 'bootId')) {
        if ($null -eq $state -or $null -eq $state.PSObject.Properties[$name]) {
            return $null
        }
    }
    return $state
}

function Invoke-Round {
    # A full report where something changed, the last one is a day old or the server asks; else a ping.
    param($Client, [bool]$Whole)
    $state = Read-State
    $spooled = [IO.File]::Exists($SpoolFile)
    $moment = Get-UnixTime
    $due = $Whole -or $spooled -or $null -eq $state -or ($moment - $state.sent) -gt $FullReportEvery
    $fresh = $null -ne $state -and ($moment - $state.collected) -lt $CollectEvery -and $state.fingerprint -eq (Get-Fingerprint)
    if (-not $due -and $fresh -and -not (Send-Ping -Client $Client -State $state)) {
        return 'ping'
    }
    try {
        $report = Get-Report
    } catch {
        if ($spooled) {
            [void](Send-Json -Client $Client -Path '/hosts/update' -Json ([IO.File]::ReadAllText($SpoolFile)))
            Remove-Item -LiteralPath $SpoolFile -Force
        }
        throw
    }
    if (-not $due -and -not $fresh) {
        $hashes = Get-ReportHash -Report $report
        if ((ConvertTo-CompactJson -Value $hashes) -eq (ConvertTo-CompactJson -Value $state.hashes)) {
            $state.collected = Get-UnixTime
            $state.fingerprint = Get-Fingerprint
            $state.metadataUpdated = $report.metadataUpdated
            Write-TextFile -Path $StateFile -Text (ConvertTo-CompactJson -Value $state)
            if (-not (Send-Ping -Client $Client -State $state)) {
                return 'ping'
            }
        }
    }
    Send-Report -Client $Client -Report $report
    return 'full'
}

# ---------------------------------------------------------------------------- self-update

function Test-Newer {
    # Whether a version is newer than another; what is not digits and dots is not compared.
    param([string]$Version, [string]$Running)
    foreach ($text in @($Version, $Running)) {
        if ($text -notmatch '^\d{1,6}(\.\d{1,6}){0,5}\z') {
            return $false
        }
    }
    $new = @($Version.Split('.'))
    $old = @($Running.Split('.'))
    for ($index = 0; $index -lt [Math]::Max($new.Count, $old.Count); $index++) {
        $first = $(if ($index -lt $new.Count) { [int]$new[$index] } else { -1 })
        $second = $(if ($index -lt $old.Count) { [int]$old[$index] } else { -1 })
        if ($first -ne $second) {
            return ($first -gt $second)
        }
    }
    return $false
}

function Assert-Agent {
    # Refuses what is not the agent that the server has announced.
    param([byte[]]$Content, [string]$Digest, [string]$Version)
    $got = Get-ByteDigest -Bytes $Content
    if ($got -cne $Digest) {
        throw "the new agent is not what the server announced: $got instead of $Digest"
    }
    $text = $Utf8.GetString($Content)
    $tokens = $null
    $problems = $null
    [void][Management.Automation.Language.Parser]::ParseInput($text, [ref]$tokens, [ref]$problems)
    if (@($problems).Count) {
        throw "the new agent does not run on this PowerShell: $($problems[0].Message)"
    }
    $named = [regex]::Match($text, "(?m)^\`$AgentVersion = '([^']+)'")
    if (-not $named.Success -or $named.Groups[1].Value -cne $Version) {
        throw "the new agent is not version $Version"
    }
}

function Update-Agent {
    # Replaces this file by the server's newer one, if the server wants that; gives its version, nothing when there is
    # nothing to do. The one before stays beside it. Over plain HTTP only this computer itself is believed.
    param($Client)
    $path = '/hosts/agent/version?os=windows&currentVersion=' + $AgentVersion
    $offer = ConvertFrom-Json -InputObject $Utf8.GetString((Receive-Byte -Client $Client -Path $path -Limit 65536))
    $allowed = Get-Property -Object $offer -Name 'autoUpdate'
    $version = Get-Property -Object $offer -Name 'latestVersion'
    $isNewer = $version -is [string] -and (Test-Newer -Version $version -Running $AgentVersion)
    if ($allowed -isnot [bool] -or -not $allowed -or -not $isNewer) {
        return
    }
    $address = [Uri]$Client.base
    if ($address.Scheme -ne 'https' -and -not $address.IsLoopback) {
        throw 'an update of the agent is only taken over https'
    }
    $content = Receive-Byte -Client $Client -Path '/hosts/agent/download?os=windows' -Limit $MaxAgentBytes
    Assert-Agent -Content $content -Digest ([string](Get-Property -Object $offer -Name 'hash')) -Version $version
    $new = "$PSCommandPath.new"
    [IO.File]::WriteAllBytes($new, $content)
    [IO.File]::Delete("$PSCommandPath.old")
    # At once: whoever starts the agent in this moment gets the old file or the new one, with the rights of the old one.
    [IO.File]::Replace($new, $PSCommandPath, "$PSCommandPath.old")
    return $version
}

# ---------------------------------------------------------------------------- join, install, uninstall

function Protect-DataDirectory {
    # Makes the directory that only SYSTEM and Administrators may enter. Users may make directories beside it, so one that
    # somebody has prepared is refused.
    $kind = [Security.Principal.SecurityIdentifier]
    if ([IO.Directory]::Exists($DataDirectory)) {
        if ($Trusted -notcontains (Get-Acl -LiteralPath $DataDirectory).GetOwner($kind).Value) {
            throw "$DataDirectory belongs to somebody else than SYSTEM or Administrators; remove it first"
        }
    }
    $rights = New-Object -TypeName Security.AccessControl.DirectorySecurity
    $rights.SetAccessRuleProtection($true, $false)
    $rights.SetOwner((New-Object -TypeName $kind.FullName -ArgumentList 'S-1-5-32-544'))
    foreach ($identifier in $Trusted) {
        $account = New-Object -TypeName $kind.FullName -ArgumentList $identifier
        $inherit = [Security.AccessControl.InheritanceFlags]'ContainerInherit, ObjectInherit'
        $arguments = @($account, 'FullControl', $inherit, 'None', 'Allow')
        $rights.AddAccessRule((New-Object -TypeName Security.AccessControl.FileSystemAccessRule -ArgumentList $arguments))
    }
    if (-not [IO.Directory]::Exists($DataDirectory)) {
        [void][IO.Directory]::CreateDirectory($DataDirectory, $rights)
    }
    Set-Acl -LiteralPath $DataDirectory -AclObject $rights
}

function Invoke-Join {
    # Exchanges a token for credentials of this host and keeps them.
    $given = ConvertFrom-Json -InputObject $Utf8.GetString([Convert]::FromBase64String([Console]::In.ReadToEnd().Trim()))
    $pem = [string](Get-Property -Object $given -Name 'ca_certificate')
    $seed = [string](Get-RegistryValue -Key 'SOFTWARE\Microsoft\Cryptography' -Name 'MachineGuid')
    $headers = @{}
    if (Get-Property -Object $given -Name 'bootstrap_token') {
        $path = '/hosts/bootstrap/exchange'
        $body = [ordered]@{ token = $given.bootstrap_token }
    } else {
        $path = '/auto-enrollment/enroll'
        $headers = @{ 'X-Auto-Enrollment-Key' = $given.token_key; 'X-Auto-Enrollment-Secret' = $given.token_secret }
        $known = Read-JsonFile -Path $Config
        # A host that is enrolled already proves who it is, so that it stays the same device.
        if ((Get-Property -Object $known -Name 'server') -eq $given.server.TrimEnd('/')) {
            $headers['X-API-ID'] = $known.api_id
            $headers['X-API-KEY'] = $known.api_key
        }
        $body = [ordered]@{
            friendly_name = $given.friendly_name
            machine_id = $(if ($seed) { $seed } else { $null })
            metadata = [ordered]@{
                hostname = [Net.Dns]::GetHostName()
                os_info = Get-Short -Text (Get-CimInstance -ClassName Win32_OperatingSystem).Caption
                ssh_host_keys = @(Get-SshHostKey)
            }
        }
    }
    Protect-DataDirectory
    $arguments = @{ Server = $given.server; ApiVersion = $given.api_version; Headers = $headers; Pem = $pem; Seed = $seed }
    $client = Get-Client @arguments
    $answer = Send-Json -Client $client -Path $path -Json (ConvertTo-CompactJson -Value $body) -Attempts 1
    $credentials = Get-Property -Object $answer -Name 'host' -Default $answer
    $settings = [ordered]@{
        server = $given.server.TrimEnd('/')
        api_version = $given.api_version
        api_id = Get-Property -Object $credentials -Name 'api_id' -Default (Get-Property -Object $credentials -Name 'apiId')
        api_key = Get-Property -Object $credentials -Name 'api_key' -Default (Get-Property -Object $credentials -Name 'apiKey')
    }
    foreach ($name in @('api_id', 'api_key')) {
        if ([string]$settings[$name] -notmatch '^[\w.-]+$') {
            throw "the server sent no usable $name"
        }
    }
    if ($pem) {
        Write-TextFile -Path $CaFile -Text $pem
        $settings['ca_file'] = $CaFile
    }
    Write-TextFile -Path $Config -Text (ConvertTo-Json -InputObject $settings)
    Write-Output -InputObject "Enrolled at $($settings.server)"
}

function Install-Agent {
    # Registers the scheduled task. Each host starts at an offset of its own, so that a fleet spreads out.
    [void](Get-ConfiguredClient)
    $program = Join-Path -Path $env:SystemRoot -ChildPath 'System32\WindowsPowerShell\v1.0\powershell.exe'
    $words = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}" -Once -Config "{1}"' -f $PSCommandPath, $Config
    $task = Get-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue
    if ($null -ne $task -and $task.State -ne 'Disabled') {
        $action = @($task.Actions)[0]
        if ($action.Execute -eq $program -and $action.Arguments -eq $words -and $task.Principal.UserId -eq 'SYSTEM') {
            Write-Output -InputObject "The scheduled task '$TaskName' already runs the agent"
            return
        }
    }
    $seed = [string](Get-RegistryValue -Key 'SOFTWARE\Microsoft\Cryptography' -Name 'MachineGuid')
    $offset = 60 + [Convert]::ToInt32((Get-Digest -Text $seed).Substring(0, 7), 16) % $HeartbeatEvery
    $trigger = @{
        Once = $true
        At = (Get-Date).AddSeconds($offset)
        RepetitionInterval = New-TimeSpan -Seconds $HeartbeatEvery
    }
    $options = @{
        StartWhenAvailable = $true
        MultipleInstances = 'IgnoreNew'
        ExecutionTimeLimit = New-TimeSpan -Hours 1
        AllowStartIfOnBatteries = $true
        DontStopIfGoingOnBatteries = $true
    }
    $registration = @{
        TaskName = $TaskName
        Description = 'Reports updates and system state to a Patchherd server'
        Action = New-ScheduledTaskAction -Execute $program -Argument $words
        Trigger = New-ScheduledTaskTrigger @trigger
        Settings = New-ScheduledTaskSettingsSet @options
        Principal = New-ScheduledTaskPrincipal -UserId 'SYSTEM' -LogonType ServiceAccount -RunLevel Highest
        Force = $true
    }
    [void](Register-ScheduledTask @registration)
    Write-Output -InputObject "The scheduled task '$TaskName' runs the agent"
}

function Uninstall-Agent {
    # Removes the task, what the agent has written, and the agent.
    if ($null -ne (Get-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue)) {
        Unregister-ScheduledTask -TaskName $TaskName -Confirm:$false
    }
    $copies = @($PSCommandPath, "$PSCommandPath.old", "$PSCommandPath.new")
    foreach ($file in @($Config, $CaFile, $StateFile, $SpoolFile) + $copies) {
        Remove-Item -LiteralPath $file -Force -ErrorAction SilentlyContinue
    }
    foreach ($directory in @($DataDirectory, (Split-Path -Path $PSCommandPath -Parent))) {
        if ((Split-Path -Path $directory -Leaf) -eq 'Patchherd' -and -not @(Get-ChildItem -LiteralPath $directory -Force).Count) {
            Remove-Item -LiteralPath $directory -Force
        }
    }
    Write-Output -InputObject 'The agent is removed'
}

# ---------------------------------------------------------------------------- command line

function Invoke-Once {
    # One round, alone: two searches at once would fight over Windows Update.
    $mutex = New-Object -TypeName Threading.Mutex -ArgumentList $false, 'Global\PatchherdAgent'
    try {
        if (-not $mutex.WaitOne(300000)) {
            throw 'another run of the agent has not ended for 5 minutes'
        }
    } catch [Threading.AbandonedMutexException] {
        Write-Verbose -Message 'an earlier run was ended'
    }
    try {
        $client = Get-ConfiguredClient
        $sent = Invoke-Round -Client $client -Whole $Full.IsPresent
        if ($sent -eq 'full') {
            # At least once a day, and not with every sign of life. A report that has arrived is not made to fail by this.
            try {
                $version = Update-Agent -Client $client
                if ($version) {
                    $sent = "$sent; version $version of the agent runs from the next time on"
                }
            } catch {
                [Console]::Error.WriteLine("patchherd: not updated: $($_.Exception.Message)")
            }
        }
        Write-Output -InputObject "patchherd: sent $sent"
    } finally {
        $mutex.ReleaseMutex()
        $mutex.Dispose()
    }
}

try {
    if ($DryRun) {
        ConvertTo-Json -InputObject (Get-Report) -Depth 8
    } elseif ($Join) {
        Invoke-Join
    } elseif ($Install) {
        Install-Agent
    } elseif ($Uninstall) {
        Uninstall-Agent
    } elseif ($Once -or $Full) {
        Invoke-Once
    } else {
        throw 'nothing to do: give -Once, -DryRun, -Install, -Uninstall or -Join'
    }
} catch {
    [Console]::Error.WriteLine("patchherd: $($_.Exception.Message)")
    exit 1
}
