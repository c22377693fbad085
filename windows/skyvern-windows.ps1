#Requires -Version 5.1
#Requires -PSEdition Desktop
<#
.SYNOPSIS
    Makes a Windows machine a host for the stack in WSL2, and lends the stack a Chrome of Windows.

.DESCRIPTION
    -Check    (the default) changes nothing, prints what is there and what is missing, exits 1 when something is missing.
    -Apply    sets up what is missing. Safe to run again. Needs an elevated PowerShell.
    -Undo     puts back what was before the first -Apply. Needs an elevated PowerShell.
    -WhatIf   with -Apply or -Undo: says what would be done, does nothing.

    Exit codes: 0 all right, 1 -Check found something missing, 2 an error, reported in one line.

    Chrome's debugging port has no authentication: whoever reaches it controls the browser and every login in it. Chrome
    listens on loopback only. A port proxy opens it on one address of the WSL adapter, for the WSL subnet, and nowhere else.

.PARAMETER Distribution
    Name of the WSL distribution that runs the stack. Default: WSL's default distribution.

.PARAMETER MemoryGB
    Memory for WSL. Default: two thirds of the machine's, at least 8 where 2 remain for Windows.

.PARAMETER ProxyPort
    Port on which the stack offers its egress proxy (browser.proxy_port in the stack file).

.PARAMETER DebugPort
    Port of Chrome's remote debugging.

.PARAMETER ProfileFolder
    Profile of that Chrome. Since Chrome 136 the default profile cannot be debugged.

.PARAMETER Address
    Private IPv4 address that the WSL adapter gets in addition to its own, which changes at every restart of Windows.

.PARAMETER NoChrome
    Without Chrome and everything that leads to it: only memory, sleep and the start at boot.

.PARAMETER Boot
    What the boot task runs: starts the distribution, opens the way to Chrome, waits, and does it again when WSL has stopped.

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File skyvern-windows.ps1 -Check

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File skyvern-windows.ps1 -Apply -Distribution Ubuntu-24.04 -MemoryGB 24
#>
[CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Check')]
param(
    [Parameter(ParameterSetName = 'Check')] [switch]$Check,
    [Parameter(ParameterSetName = 'Apply', Mandatory = $true)] [switch]$Apply,
    [Parameter(ParameterSetName = 'Undo', Mandatory = $true)] [switch]$Undo,
    [Parameter(ParameterSetName = 'Boot', Mandatory = $true)] [switch]$Boot,
    [ValidatePattern('^[A-Za-z0-9._-]*$')] [string]$Distribution = '',
    [ValidateRange(2, 4096)] [int]$MemoryGB,
    [ValidateRange(1, 65535)] [int]$ProxyPort = 3128,
    [ValidateRange(1, 65535)] [int]$DebugPort = 9222,
    [ValidatePattern('^[A-Za-z]:\\[^"]*[^"\\]$')] [string]$ProfileFolder = 'C:\chrome-skyvern-profile',
    [ValidatePattern('^(10\.\d{1,3}|172\.(1[6-9]|2\d|3[01])|192\.168)(\.\d{1,3}){2}$')] [string]$Address = '10.222.222.1',
    [switch]$NoChrome
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# Only administrators can write here, and the boot task runs what lies here with their rights.
$Folder = Join-Path -Path $env:ProgramFiles -ChildPath 'skyvern-stack'
$InstalledScript = Join-Path -Path $Folder -ChildPath 'skyvern-windows.ps1'
$StateFile = Join-Path -Path $Folder -ChildPath 'before.json'
$BootLog = Join-Path -Path $Folder -ChildPath 'boot.log'
$WslConfig = Join-Path -Path $env:USERPROFILE -ChildPath '.wslconfig'
$PortProxyKey = 'HKLM:\SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp'
$BootTask = 'Skyvern stack - WSL at boot'
$ChromeTask = 'Skyvern stack - Chrome at logon'
$FirewallRule = 'SkyvernStack-Chrome'
$User = [Security.Principal.WindowsIdentity]::GetCurrent()

# Equal to the stack's own browsers apart from the proxy's address. No --remote-debugging-address: loopback is the default.
$ChromeArguments = @(
    "--remote-debugging-port=$DebugPort"
    "--user-data-dir=`"$ProfileFolder`""
    "--proxy-server=http://127.0.0.1:$ProxyPort"
    '--proxy-bypass-list=<-loopback>'
    '--webrtc-ip-handling-policy=disable_non_proxied_udp'
    '--force-webrtc-ip-handling-policy=disable_non_proxied_udp'
    '--no-first-run'
    '--no-default-browser-check'
)

# ---- Reading Windows. Registry and numbers only: the text of Windows's tools is in the language of the machine.

function Invoke-Native {
    param([string]$File, [string[]]$Arguments, [switch]$AllowFailure)
    # Under 'Stop', Windows PowerShell makes a terminating error of the first line on standard error.
    $ErrorActionPreference = 'Continue'
    $lines = @(& $File @Arguments 2>&1 | ForEach-Object -Process { "$_" })
    if ($LASTEXITCODE -ne 0 -and -not $AllowFailure) {
        throw "$File $($Arguments -join ' ') failed with ${LASTEXITCODE}: $($lines -join ' ')"
    }
    return $lines
}

function Get-RegistryValue {
    param([string]$Path, [string]$Name)
    if (Test-Path -LiteralPath $Path) {
        return (Get-Item -LiteralPath $Path).GetValue($Name, $null)
    }
    return $null
}

function Get-Distribution {
    $root = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\Lxss'
    if (-not (Test-Path -LiteralPath $root)) {
        return
    }
    $default = Get-RegistryValue -Path $root -Name 'DefaultDistribution'
    foreach ($key in @(Get-ChildItem -LiteralPath $root)) {
        if ($null -ne $key.GetValue('DistributionName')) {
            [pscustomobject]@{
                Name    = [string]$key.GetValue('DistributionName')
                # Bit 3 is the virtual machine, so WSL 2. The value "Version" is that of the disk's layout.
                Wsl2    = [bool]([int]$key.GetValue('Flags', 0) -band 8)
                Default = ($key.PSChildName -eq $default)
            }
        }
    }
}

function Get-ChosenDistribution {
    $all = @(Get-Distribution | Where-Object -FilterScript { $_.Name -notlike 'docker-desktop*' })
    if ($Distribution) {
        return $all | Where-Object -FilterScript { $_.Name -eq $Distribution }
    }
    return $all | Where-Object -FilterScript { $_.Default }
}

function Get-WslVersion {
    # Without it wsl.exe writes UTF-16 into a pipe.
    $env:WSL_UTF8 = '1'
    $text = (Invoke-Native -File 'wsl.exe' -Arguments @('--version') -AllowFailure) -join "`n"
    if ($text -match '(\d+\.\d+\.\d+)') {
        return [version]$Matches[1]
    }
    return $null
}

function Get-ChromePath {
    $places = @(
        (Get-RegistryValue -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\chrome.exe' -Name ''),
        (Get-RegistryValue -Path 'HKCU:\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\chrome.exe' -Name ''),
        (Join-Path -Path $env:ProgramFiles -ChildPath 'Google\Chrome\Application\chrome.exe')
    )
    return $places | Where-Object -FilterScript { $_ -and (Test-Path -LiteralPath $_) } | Select-Object -First 1
}

function Get-WslAdapter {
    # "vEthernet (WSL)" or "vEthernet (WSL (Hyper-V firewall))"; there only once WSL has run since Windows started.
    $own = Get-NetIPAddress -AddressFamily IPv4 -InterfaceAlias 'vEthernet (WSL*' -ErrorAction SilentlyContinue |
        Where-Object -FilterScript { $_.PrefixLength -lt 32 } | Select-Object -First 1
    if ($null -eq $own) {
        return $null
    }
    $octets = ([Net.IPAddress]$own.IPAddress).GetAddressBytes()
    $network = @()
    $mask = @()
    for ($index = 0; $index -lt 4; $index++) {
        $bits = [Math]::Min(8, [Math]::Max(0, $own.PrefixLength - 8 * $index))
        $part = 256 - [int][Math]::Pow(2, 8 - $bits)
        $mask += $part
        $network += $octets[$index] -band $part
    }
    # The form in which the firewall gives a subnet back.
    return [pscustomobject]@{ Alias = $own.InterfaceAlias; Subnet = "$($network -join '.')/$($mask -join '.')" }
}

function Get-NetworkingMode {
    $text = Read-WslConfig
    foreach ($section in 'wsl2', 'experimental') {
        $mode = Get-IniValue -Text $text -Section $section -Key 'networkingMode'
        if ($mode) {
            return $mode.ToLowerInvariant()
        }
    }
    return 'nat'
}

function Test-TcpPort {
    param([string]$HostAddress, [int]$Port)
    $client = New-Object -TypeName Net.Sockets.TcpClient
    try {
        return $client.ConnectAsync($HostAddress, $Port).Wait(3000)
    } catch {
        return $false
    } finally {
        $client.Close()
    }
}

# ---- .wslconfig: an INI file of the user's, of which we own two keys.

function Read-WslConfig {
    if (Test-Path -LiteralPath $WslConfig) {
        return [IO.File]::ReadAllText($WslConfig)
    }
    return ''
}

function Find-IniLine {
    # Gives the index of the key's line in its section, of the section's last line, or -1 for what is not there.
    param([string[]]$Lines, [string]$Section, [string]$Key)
    $found = @{ Key = -1; End = -1 }
    $current = ''
    for ($index = 0; $index -lt $Lines.Length; $index++) {
        if ($Lines[$index] -match '^\s*\[([^\]]+)\]') {
            $current = $Matches[1].Trim()
        }
        if ($current -eq $Section) {
            if ($Lines[$index].Trim()) {
                $found.End = $index
            }
            if ($Lines[$index] -match "^\s*$([regex]::Escape($Key))\s*=") {
                $found.Key = $index
            }
        }
    }
    return $found
}

function Get-IniValue {
    param([string]$Text, [string]$Section, [string]$Key)
    $lines = [string[]]($Text -split '\r?\n')
    $found = Find-IniLine -Lines $lines -Section $Section -Key $Key
    if ($found.Key -lt 0) {
        return ''
    }
    return (($lines[$found.Key] -split '=', 2)[1] -split '#', 2)[0].Trim()
}

function Set-IniValue {
    # Gives the text with the key set, or without the key where the value is empty; every other line stays as it is.
    param([string]$Text, [string]$Section, [string]$Key, [string]$Value)
    $lines = New-Object -TypeName 'Collections.Generic.List[string]'
    if ($Text) {
        foreach ($line in ($Text -split '\r?\n')) {
            $lines.Add($line)
        }
    }
    $found = Find-IniLine -Lines $lines.ToArray() -Section $Section -Key $Key
    if ($found.Key -ge 0 -and $Value -eq (Get-IniValue -Text $Text -Section $Section -Key $Key)) {
        return $Text
    }
    if ($found.Key -ge 0 -and $Value) {
        $comment = ''
        if ($lines[$found.Key] -match '(\s*#.*)$') {
            $comment = $Matches[1]
        }
        $lines[$found.Key] = "$Key=$Value$comment"
    } elseif ($found.Key -ge 0) {
        $lines.RemoveAt($found.Key)
    } elseif ($Value -and $found.End -ge 0) {
        $lines.Insert($found.End + 1, "$Key=$Value")
    } elseif ($Value) {
        while ($lines.Count -gt 0 -and -not $lines[$lines.Count - 1].Trim()) {
            $lines.RemoveAt($lines.Count - 1)
        }
        if ($lines.Count -gt 0) {
            $lines.Add('')
        }
        $lines.Add("[$Section]")
        $lines.Add("$Key=$Value")
        $lines.Add('')
    }
    return $lines -join "`r`n"
}

function Write-WslConfig {
    param([string]$Text)
    # WSL reads UTF-8; a byte order mark would become part of the first section's name.
    [IO.File]::WriteAllText($WslConfig, $Text, (New-Object -TypeName Text.UTF8Encoding -ArgumentList $false))
}

function Get-WantedMemory {
    if ($MemoryGB) {
        return $MemoryGB
    }
    $total = [Math]::Round((Get-CimInstance -ClassName Win32_ComputerSystem).TotalPhysicalMemory / 1gb)
    return [int][Math]::Min([Math]::Max([Math]::Floor($total * 2 / 3), 8), $total - 2)
}

function Set-OwnWslKey {
    # The keys of ours, with the given values, in a text of the file.
    param([string]$Text, [string]$Memory, [string]$IdleTimeout)
    $merged = Set-IniValue -Text $Text -Section 'wsl2' -Key 'memory' -Value $Memory
    # A distribution that never counts as idle keeps the virtual machine running too, so vmIdleTimeout is not needed.
    return Set-IniValue -Text $merged -Section 'general' -Key 'instanceIdleTimeout' -Value $IdleTimeout
}

# ---- The steps. Test-... gives '' or what is missing, Get-...Before what -Undo needs, Set-... applies, Restore-... undoes.

function Test-InstalledScript {
    if (-not (Test-Path -LiteralPath $InstalledScript)) {
        return "$InstalledScript is missing"
    }
    if ((Get-FileHash -LiteralPath $InstalledScript).Hash -ne (Get-FileHash -LiteralPath $PSCommandPath).Hash) {
        return "$InstalledScript is another version"
    }
    return ''
}

function Set-InstalledScript {
    if ($PSCommandPath -ne $InstalledScript) {
        Copy-Item -LiteralPath $PSCommandPath -Destination $InstalledScript -Force
    }
}

function Restore-InstalledScript {
    foreach ($file in $InstalledScript, $BootLog) {
        if (Test-Path -LiteralPath $file) {
            Remove-Item -LiteralPath $file -Force
        }
    }
}

function Get-SleepSetting {
    # Seconds on mains power, by setting. The last two numbers that powercfg prints are those for mains and battery.
    $seconds = @{}
    foreach ($setting in 'STANDBYIDLE', 'HIBERNATEIDLE') {
        $query = @('/query', 'SCHEME_CURRENT', 'SUB_SLEEP', $setting)
        $text = (Invoke-Native -File 'powercfg.exe' -Arguments $query -AllowFailure) -join "`n"
        $numbers = [regex]::Matches($text, '0x([0-9a-fA-F]{8})')
        # A machine that cannot sleep at all has no such setting.
        if ($numbers.Count -ge 2) {
            $seconds[$setting] = [Convert]::ToInt64($numbers[$numbers.Count - 2].Groups[1].Value, 16)
        }
    }
    return $seconds
}

function Set-SleepSetting {
    param([string]$Scheme, [string]$Setting, [long]$Seconds)
    [void](Invoke-Native -File 'powercfg.exe' -Arguments @('/setacvalueindex', $Scheme, 'SUB_SLEEP', $Setting, "$Seconds"))
}

function Test-Sleep {
    $sleeps = @((Get-SleepSetting).GetEnumerator() | Where-Object -FilterScript { $_.Value -ne 0 })
    if ($sleeps.Length -gt 0) {
        return ($sleeps | ForEach-Object -Process { "$($_.Key) after $($_.Value) s on mains power" }) -join ', '
    }
    return ''
}

function Get-SleepBefore {
    $scheme = (Invoke-Native -File 'powercfg.exe' -Arguments @('/getactivescheme')) -join ' '
    if ($scheme -match '([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})') {
        return @{ Target = ''; Scheme = $Matches[1]; Seconds = (Get-SleepSetting) }
    }
    throw 'powercfg /getactivescheme names no power scheme; choose one in the Windows settings'
}

function Set-NoSleep {
    foreach ($setting in (Get-SleepSetting).Keys) {
        Set-SleepSetting -Scheme 'SCHEME_CURRENT' -Setting $setting -Seconds 0
    }
    [void](Invoke-Native -File 'powercfg.exe' -Arguments @('/setactive', 'SCHEME_CURRENT'))
}

function Restore-Sleep {
    param($Before)
    foreach ($setting in $Before.Seconds.PSObject.Properties) {
        Set-SleepSetting -Scheme $Before.Scheme -Setting $setting.Name -Seconds $setting.Value
    }
    [void](Invoke-Native -File 'powercfg.exe' -Arguments @('/setactive', 'SCHEME_CURRENT'))
}

function Test-WslConfig {
    $text = Read-WslConfig
    $memory = Get-IniValue -Text $text -Section 'wsl2' -Key 'memory'
    $missing = @()
    if (($MemoryGB -and $memory -ne "$(Get-WantedMemory)GB") -or -not $memory) {
        $missing += "memory is '$memory', not $(Get-WantedMemory)GB"
    }
    if ((Get-IniValue -Text $text -Section 'general' -Key 'instanceIdleTimeout') -ne '-1') {
        $missing += 'a distribution without a window is stopped (instanceIdleTimeout)'
    }
    return $missing -join '; '
}

function Get-WslConfigBefore {
    if (Test-Path -LiteralPath $WslConfig) {
        return @{ Target = ''; Content = [Convert]::ToBase64String([IO.File]::ReadAllBytes($WslConfig)) }
    }
    return @{ Target = ''; Content = $null }
}

function Set-WslConfig {
    $text = Read-WslConfig
    $memory = Get-IniValue -Text $text -Section 'wsl2' -Key 'memory'
    if ($MemoryGB -or -not $memory) {
        $memory = "$(Get-WantedMemory)GB"
    }
    Write-WslConfig -Text (Set-OwnWslKey -Text $text -Memory $memory -IdleTimeout '-1')
    Write-Output '    counts from the next start of WSL; "wsl --shutdown" stops every distribution now'
}

function Restore-WslConfig {
    param($Before)
    $bytes = [byte[]]@()
    if ($Before.Content) {
        $bytes = [Convert]::FromBase64String($Before.Content)
    }
    $reader = New-Object -TypeName IO.StreamReader -ArgumentList (New-Object -TypeName IO.MemoryStream -ArgumentList (, $bytes))
    $original = $reader.ReadToEnd()
    $now = Read-WslConfig
    $memory = Get-IniValue -Text $now -Section 'wsl2' -Key 'memory'
    $idle = Get-IniValue -Text $now -Section 'general' -Key 'instanceIdleTimeout'
    if ((Set-OwnWslKey -Text $original -Memory $memory -IdleTimeout $idle) -cne $now) {
        # Edited since: only our two keys go back, so that the edit is not lost.
        $memory = Get-IniValue -Text $original -Section 'wsl2' -Key 'memory'
        $idle = Get-IniValue -Text $original -Section 'general' -Key 'instanceIdleTimeout'
        Write-WslConfig -Text (Set-OwnWslKey -Text $now -Memory $memory -IdleTimeout $idle)
    } elseif ($Before.Content) {
        [IO.File]::WriteAllBytes($WslConfig, $bytes)
    } elseif (Test-Path -LiteralPath $WslConfig) {
        Remove-Item -LiteralPath $WslConfig
    }
}

function Get-BootArgument {
    $words = @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', "`"$InstalledScript`"", '-Boot')
    $words += @('-Distribution', (Get-ChosenDistribution).Name, '-DebugPort', "$DebugPort", '-Address', $Address)
    if ($NoChrome) {
        $words += '-NoChrome'
    }
    return $words -join ' '
}

function Test-OwnTask {
    param([string]$Name, [string]$Arguments)
    $task = Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue
    if ($null -eq $task) {
        return 'the task is missing'
    }
    if (@($task.Actions)[0].Arguments -ne $Arguments) {
        return 'the task is for other settings'
    }
    if ("$($task.State)" -eq 'Disabled') {
        return 'the task is disabled'
    }
    return ''
}

function Stop-OwnTask {
    param([string]$Name)
    if (Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue) {
        Stop-ScheduledTask -TaskName $Name
    }
}

function Restore-OwnTask {
    param([string]$Name)
    Stop-OwnTask -Name $Name
    if (Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue) {
        Unregister-ScheduledTask -TaskName $Name -Confirm:$false
    }
}

function New-OwnTaskSetting {
    # The defaults end a task after three days, want mains power, and give its programs a lower priority than others.
    return New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
        -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -StartWhenAvailable -Priority 5
}

function Set-BootTask {
    # A distribution belongs to a Windows user, so the task runs as that user and not as SYSTEM. S4U is "run whether the user
    # is logged on or not" without a stored password; the rights are for address, port proxy and firewall.
    Stop-OwnTask -Name $BootTask
    $powershell = Join-Path -Path $PSHOME -ChildPath 'powershell.exe'
    $action = New-ScheduledTaskAction -Execute $powershell -Argument (Get-BootArgument)
    $principal = New-ScheduledTaskPrincipal -UserId $User.Name -LogonType S4U -RunLevel Highest
    [void](Register-ScheduledTask -TaskName $BootTask -Action $action -Trigger (New-ScheduledTaskTrigger -AtStartup) `
            -Principal $principal -Settings (New-OwnTaskSetting) -Force)
    # The task starts at the end, so that it does not set the adapter up at the same time; the adapter comes with WSL.
    [void](Invoke-Native -File 'wsl.exe' -Arguments @('-d', (Get-ChosenDistribution).Name, '--exec', 'true'))
}

function Set-ChromeTask {
    # Chrome needs a desktop, so it starts with the user's login and without raised rights. One that still runs in this
    # profile would take the new start over and keep its old flags.
    Stop-OwnTask -Name $ChromeTask
    $action = New-ScheduledTaskAction -Execute (Get-ChromePath) -Argument ($ChromeArguments -join ' ')
    $principal = New-ScheduledTaskPrincipal -UserId $User.Name -LogonType Interactive -RunLevel Limited
    $trigger = New-ScheduledTaskTrigger -AtLogOn -User $User.Name
    [void](Register-ScheduledTask -TaskName $ChromeTask -Action $action -Trigger $trigger `
            -Principal $principal -Settings (New-OwnTaskSetting) -Force)
    Start-ScheduledTask -TaskName $ChromeTask
}

function Get-ProfileAccess {
    # Full control for the user, SYSTEM and administrators, by identifier: their names are in the language of the machine.
    return "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;$($User.User.Value))"
}

function Test-ProfileFolder {
    if (-not (Test-Path -LiteralPath $ProfileFolder)) {
        return "$ProfileFolder is missing"
    }
    $others = @((Get-Acl -LiteralPath $ProfileFolder).Access | Where-Object -FilterScript {
            $identity = $_.IdentityReference.Translate([Security.Principal.SecurityIdentifier]).Value
            $identity -notin @('S-1-5-18', 'S-1-5-32-544', $User.User.Value)
        })
    if ($others.Length -gt 0) {
        return "$ProfileFolder, which holds logins, is open to others"
    }
    return ''
}

function Get-ProfileBefore {
    if (Test-Path -LiteralPath $ProfileFolder) {
        $access = (Get-Acl -LiteralPath $ProfileFolder).GetSecurityDescriptorSddlForm('Access')
        return @{ Target = $ProfileFolder; Access = $access }
    }
    return @{ Target = $ProfileFolder; Access = $null }
}

function Set-FolderAccess {
    param([string]$Path, [string]$Sddl)
    # Set-Acl would write the owner as well, which needs a privilege more.
    $security = New-Object -TypeName Security.AccessControl.DirectorySecurity
    $security.SetSecurityDescriptorSddlForm($Sddl, 'Access')
    (Get-Item -LiteralPath $Path).SetAccessControl($security)
}

function Set-ProfileFolder {
    if (-not (Test-Path -LiteralPath $ProfileFolder)) {
        [void](New-Item -ItemType Directory -Path $ProfileFolder)
    }
    Set-FolderAccess -Path $ProfileFolder -Sddl (Get-ProfileAccess)
}

function Restore-ProfileFolder {
    param($Before)
    if (-not (Test-Path -LiteralPath $Before.Target)) {
        return
    }
    if ($Before.Access) {
        Set-FolderAccess -Path $Before.Target -Sddl $Before.Access
    } elseif (@(Get-ChildItem -LiteralPath $Before.Target -Force).Length -eq 0) {
        Remove-Item -LiteralPath $Before.Target
    } else {
        Write-Output "    $($Before.Target) holds logins and stays; remove it by hand if you do not need them"
    }
}

function Wait-WslAdapter {
    $deadline = (Get-Date).AddSeconds(120)
    while ((Get-Date) -lt $deadline) {
        $adapter = Get-WslAdapter
        if ($adapter) {
            return $adapter
        }
        Start-Sleep -Seconds 1
    }
    throw "the WSL adapter did not appear within 120 s; try: wsl -d $((Get-ChosenDistribution).Name)"
}

function Test-AdapterAddress {
    $adapter = Get-WslAdapter
    if ($null -eq $adapter) {
        return 'there is no WSL adapter: WSL has not run since Windows started'
    }
    if (-not (Get-NetIPAddress -InterfaceAlias $adapter.Alias -IPAddress $Address -ErrorAction SilentlyContinue)) {
        return "$($adapter.Alias) lacks $Address"
    }
    return ''
}

function Set-AdapterAddress {
    $adapter = Wait-WslAdapter
    $taken = Get-NetIPAddress -IPAddress $Address -ErrorAction SilentlyContinue
    if ($taken -and @($taken)[0].InterfaceAlias -ne $adapter.Alias) {
        throw "$Address belongs to $(@($taken)[0].InterfaceAlias); choose another private address with -Address"
    }
    if (-not $taken) {
        # /32: no route changes. WSL reaches it through its default gateway, which is this adapter.
        [void](New-NetIPAddress -InterfaceAlias $adapter.Alias -IPAddress $Address -PrefixLength 32 `
                -SkipAsSource $true -PolicyStore ActiveStore)
    }
    # Nothing can listen on it until Windows has made sure that nobody else has it.
    $deadline = (Get-Date).AddSeconds(15)
    while ("$((Get-NetIPAddress -IPAddress $Address).AddressState)" -ne 'Preferred') {
        if ((Get-Date) -gt $deadline) {
            throw "$Address did not become usable on $($adapter.Alias); choose another private address with -Address"
        }
        Start-Sleep -Milliseconds 200
    }
}

function Restore-AdapterAddress {
    param($Before)
    if (Get-NetIPAddress -IPAddress $Before.Target -ErrorAction SilentlyContinue) {
        Remove-NetIPAddress -IPAddress $Before.Target -Confirm:$false
    }
}

function Test-PortProxy {
    if ((Get-RegistryValue -Path $PortProxyKey -Name "$Address/$DebugPort") -ne "127.0.0.1/$DebugPort") {
        return "no port proxy from ${Address}:$DebugPort to 127.0.0.1:$DebugPort"
    }
    return ''
}

function Remove-PortProxy {
    param([string]$Entry)
    if (Get-RegistryValue -Path $PortProxyKey -Name $Entry) {
        $listen = $Entry.Split('/')
        [void](Invoke-Native -File 'netsh.exe' -Arguments @('interface', 'portproxy', 'delete', 'v4tov4',
                "listenaddress=$($listen[0])", "listenport=$($listen[1])"))
    }
}

function Set-PortProxy {
    # Removed first: an entry whose address was not there when Windows started listens nowhere until it is added again.
    Remove-PortProxy -Entry "$Address/$DebugPort"
    Start-Service -Name 'iphlpsvc'
    [void](Invoke-Native -File 'netsh.exe' -Arguments @('interface', 'portproxy', 'add', 'v4tov4',
            "listenaddress=$Address", "listenport=$DebugPort", 'connectaddress=127.0.0.1', "connectport=$DebugPort"))
}

function Restore-PortProxy {
    param($Before)
    Remove-PortProxy -Entry $Before.Target
}

function Test-FirewallRule {
    $adapter = Get-WslAdapter
    $rule = Get-NetFirewallRule -Name $FirewallRule -ErrorAction SilentlyContinue
    if ($null -eq $rule) {
        return "no firewall rule lets WSL reach port $DebugPort"
    }
    if ($null -eq $adapter) {
        return 'there is no WSL adapter to compare the firewall rule with'
    }
    $addresses = $rule | Get-NetFirewallAddressFilter
    $found = @($addresses.LocalAddress, $addresses.RemoteAddress, ($rule | Get-NetFirewallPortFilter).LocalPort,
        ($rule | Get-NetFirewallInterfaceFilter).InterfaceAlias) -join ' '
    if ($found -ne (@($Address, $adapter.Subnet, $DebugPort, $adapter.Alias) -join ' ') -or "$($rule.Enabled)" -ne 'True') {
        return "the firewall rule is for '$found'"
    }
    return ''
}

function Set-FirewallRule {
    $adapter = Wait-WslAdapter
    Restore-FirewallRule
    [void](New-NetFirewallRule -Name $FirewallRule -DisplayName 'Skyvern stack: Chrome debugging from WSL' -Direction Inbound `
            -Action Allow -Protocol TCP -LocalAddress $Address -LocalPort $DebugPort -RemoteAddress $adapter.Subnet `
            -InterfaceAlias $adapter.Alias)
}

function Restore-FirewallRule {
    if (Get-NetFirewallRule -Name $FirewallRule -ErrorAction SilentlyContinue) {
        Remove-NetFirewallRule -Name $FirewallRule
    }
}

function Test-BootTaskRun {
    $task = Get-ScheduledTask -TaskName $BootTask -ErrorAction SilentlyContinue
    if ($null -eq $task -or "$($task.State)" -ne 'Running') {
        return "the boot task does not run (its last lines are in $BootLog)"
    }
    return ''
}

# Order matters: WSL brings the adapter that address, firewall and port proxy need. -Undo goes from the end to the beginning.
# Before gives what -Undo needs. It is asked before the first change, and again when Target, what the step is about, is another.
$Steps = @(
    @{
        Name   = 'script'
        What   = 'This script where the boot task finds it'
        Chrome = $false
        Check  = { Test-InstalledScript }
        Before = { @{ Target = '' } }
        Apply  = { Set-InstalledScript }
        Undo   = { Restore-InstalledScript }
    }
    @{
        Name   = 'sleep'
        What   = 'No sleep on mains power'
        Chrome = $false
        Check  = { Test-Sleep }
        Before = { Get-SleepBefore }
        Apply  = { Set-NoSleep }
        Undo   = { param($before) Restore-Sleep -Before $before }
    }
    @{
        Name   = 'wslconfig'
        What   = "WSL's memory and no idle stop"
        Chrome = $false
        Check  = { Test-WslConfig }
        Before = { Get-WslConfigBefore }
        Apply  = { Set-WslConfig }
        Undo   = { param($before) Restore-WslConfig -Before $before }
    }
    @{
        Name   = 'boot'
        What   = 'WSL starts with Windows and stays'
        Chrome = $false
        Check  = { Test-OwnTask -Name $BootTask -Arguments (Get-BootArgument) }
        Before = { @{ Target = '' } }
        Apply  = { Set-BootTask }
        Undo   = { Restore-OwnTask -Name $BootTask }
    }
    @{
        Name   = 'address'
        What   = 'A fixed address on the WSL adapter'
        Chrome = $true
        Check  = { Test-AdapterAddress }
        Before = { @{ Target = $Address } }
        Apply  = { Set-AdapterAddress }
        Undo   = { param($before) Restore-AdapterAddress -Before $before }
    }
    @{
        Name   = 'firewall'
        What   = 'Only the WSL subnet on the WSL adapter'
        Chrome = $true
        Check  = { Test-FirewallRule }
        Before = { @{ Target = '' } }
        Apply  = { Set-FirewallRule }
        Undo   = { Restore-FirewallRule }
    }
    @{
        Name   = 'portproxy'
        What   = 'From that address to Chrome on loopback'
        Chrome = $true
        Check  = { Test-PortProxy }
        Before = { @{ Target = "$Address/$DebugPort" } }
        Apply  = { Set-PortProxy }
        Undo   = { param($before) Restore-PortProxy -Before $before }
    }
    @{
        Name   = 'profile'
        What   = 'A Chrome profile that only you can read'
        Chrome = $true
        Check  = { Test-ProfileFolder }
        Before = { Get-ProfileBefore }
        Apply  = { Set-ProfileFolder }
        Undo   = { param($before) Restore-ProfileFolder -Before $before }
    }
    @{
        Name   = 'chrome'
        What   = 'Chrome with debugging and egress proxy'
        Chrome = $true
        Check  = { Test-OwnTask -Name $ChromeTask -Arguments ($ChromeArguments -join ' ') }
        Before = { @{ Target = '' } }
        Apply  = { Set-ChromeTask }
        Undo   = { Restore-OwnTask -Name $ChromeTask }
    }
    @{
        Name   = 'start'
        What   = 'WSL is kept running now'
        Chrome = $false
        Check  = { Test-BootTaskRun }
        Before = { @{ Target = '' } }
        Apply  = { Start-ScheduledTask -TaskName $BootTask }
        Undo   = { Stop-OwnTask -Name $BootTask }
    }
)

# ---- What only a person can mend. Each gives '' or one line: what is wrong, and what to do.

function Test-Wsl {
    if (-not (Get-Command -Name 'wsl.exe' -ErrorAction SilentlyContinue)) {
        return 'WSL is not installed; run "wsl --install" and restart Windows'
    }
    $version = Get-WslVersion
    # Older ones stop a distribution in spite of running services and do not know instanceIdleTimeout.
    if ($null -eq $version -or $version -lt [version]'2.5.7') {
        return "WSL $version is too old to keep a distribution running; run: wsl --update"
    }
    return ''
}

function Test-Distribution {
    $chosen = Get-ChosenDistribution
    $names = @(Get-Distribution | ForEach-Object -Process { $_.Name })
    if ($null -eq $chosen -and $names.Length -eq 0) {
        return "$($User.Name) has no WSL distribution; run as the user who has, or: wsl --install -d Ubuntu-24.04"
    }
    if ($null -eq $chosen -and $Distribution) {
        return "there is no WSL distribution $Distribution; choose one with -Distribution: $($names -join ', ')"
    }
    if ($null -eq $chosen) {
        return "no default distribution can run the stack; choose one with -Distribution: $($names -join ', ')"
    }
    if (-not $chosen.Wsl2) {
        return "$($chosen.Name) is WSL 1, which cannot run Docker; run: wsl --set-version $($chosen.Name) 2"
    }
    return ''
}

function Test-NetworkingMode {
    $mode = Get-NetworkingMode
    if ($mode -ne 'nat') {
        return "networkingMode=$mode in $WslConfig keeps containers from Chrome on Windows; remove the line, or use -NoChrome"
    }
    if ((Get-IniValue -Text (Read-WslConfig) -Section 'wsl2' -Key 'localhostForwarding') -eq 'false') {
        return "localhostForwarding=false in $WslConfig keeps Chrome from the egress proxy; remove the line, or use -NoChrome"
    }
    return ''
}

function Test-Chrome {
    if (-not (Get-ChromePath)) {
        return 'Google Chrome is not installed; install it from google.com/chrome, or use -NoChrome'
    }
    return ''
}

function Test-Firewall {
    $off = @(Get-NetFirewallProfile | Where-Object -FilterScript { "$($_.Enabled)" -eq 'False' })
    if ($off.Length -gt 0) {
        return "Windows Firewall is off for $(@($off | ForEach-Object -Process { $_.Name }) -join ', '); turn it on"
    }
    return ''
}

function Test-DebugPort {
    $proxied = Get-RegistryValue -Path $PortProxyKey -Name "$Address/$DebugPort"
    if ($proxied -and $proxied -ne "127.0.0.1/$DebugPort") {
        return "another port proxy leads from ${Address}:$DebugPort to $proxied; choose another port with -DebugPort"
    }
    # The port proxy itself listens in svchost.
    foreach ($connection in @(Get-NetTCPConnection -LocalPort $DebugPort -State Listen -ErrorAction SilentlyContinue)) {
        $name = "$(Get-Process -Id $connection.OwningProcess -ErrorAction SilentlyContinue | ForEach-Object -Process { $_.Name })"
        $place = "$($connection.LocalAddress):$DebugPort"
        if ($name -ne 'chrome' -and $connection.LocalAddress -ne $Address) {
            return "$place is taken by $name ($($connection.OwningProcess)); end it or choose another port with -DebugPort"
        }
        if ($connection.LocalAddress -notin '127.0.0.1', '::1', $Address) {
            return "$name listens on $place, which others may reach; start it without --remote-debugging-address"
        }
    }
    return ''
}

$Requirements = @(
    @{ What = 'WSL'; Chrome = $false; Check = { Test-Wsl } }
    @{ What = 'WSL distribution'; Chrome = $false; Check = { Test-Distribution } }
    @{ What = 'WSL networking'; Chrome = $true; Check = { Test-NetworkingMode } }
    @{ What = 'Google Chrome'; Chrome = $true; Check = { Test-Chrome } }
    @{ What = 'Windows Firewall'; Chrome = $true; Check = { Test-Firewall } }
    @{ What = 'Debugging port'; Chrome = $true; Check = { Test-DebugPort } }
)

# ---- What has to be running. Only -Check asks.

function Test-ChromeAnswer {
    if (-not (Test-TcpPort -HostAddress '127.0.0.1' -Port $DebugPort)) {
        return "nothing on 127.0.0.1:$DebugPort; log in to Windows, end Chrome, run: Start-ScheduledTask '$ChromeTask'"
    }
    return ''
}

function Test-WslReach {
    if (-not (Get-WslAdapter)) {
        return 'WSL does not run'
    }
    $probe = "exec 3<>/dev/tcp/$Address/$DebugPort"
    [void](Invoke-Native -File 'wsl.exe' -AllowFailure -Arguments @(
            '-d', (Get-ChosenDistribution).Name, '--exec', 'timeout', '5', 'bash', '-c', $probe))
    if ($LASTEXITCODE -ne 0) {
        return "WSL does not reach ${Address}:$DebugPort; run -Apply, and see whether a VPN or another firewall is in the way"
    }
    return ''
}

function Test-ProxyAnswer {
    if (-not (Test-TcpPort -HostAddress '127.0.0.1' -Port $ProxyPort)) {
        return "nothing on 127.0.0.1:$ProxyPort; set browser.proxy_port: $ProxyPort in the stack file and run pulumi up in WSL"
    }
    return ''
}

$Probes = @(
    @{ What = 'Chrome answers'; Chrome = $true; Check = { Test-ChromeAnswer } }
    @{ What = 'WSL reaches it'; Chrome = $true; Check = { Test-WslReach } }
    @{ What = 'Egress proxy answers'; Chrome = $true; Check = { Test-ProxyAnswer } }
)

# ---- The state file: what was before, by step.

function Read-State {
    $state = @{}
    if (Test-Path -LiteralPath $StateFile) {
        foreach ($property in ([IO.File]::ReadAllText($StateFile) | ConvertFrom-Json).PSObject.Properties) {
            $state[$property.Name] = $property.Value
        }
    }
    return $state
}

function Save-State {
    param([hashtable]$State)
    # A new file that takes the old one's place: half a file would lose what was before.
    [IO.File]::WriteAllText("$StateFile.new", ($State | ConvertTo-Json -Depth 5))
    Move-Item -LiteralPath "$StateFile.new" -Destination $StateFile -Force
}

# ---- The four modes.

function Select-Relevant {
    param([hashtable[]]$Table)
    return $Table | Where-Object -FilterScript { -not ($NoChrome -and $_.Chrome) }
}

function Get-Finding {
    param([hashtable]$Row)
    try {
        return "$(& $Row.Check)"
    } catch {
        return "cannot be read: $($_.Exception.Message)"
    }
}

function Show-Finding {
    $rows = @()
    $blocked = $false
    foreach ($row in @(Select-Relevant -Table $Requirements)) {
        $finding = Get-Finding -Row $row
        $rows += [pscustomobject]@{ What = $row.What; Finding = $finding; Fix = '' }
        $blocked = $blocked -or $finding
    }
    # Without WSL the rest is one and the same finding many times over.
    if (-not $blocked) {
        foreach ($row in @(Select-Relevant -Table $Steps)) {
            $rows += [pscustomobject]@{ What = $row.What; Finding = (Get-Finding -Row $row); Fix = '-Apply' }
        }
        foreach ($row in @(Select-Relevant -Table $Probes)) {
            $rows += [pscustomobject]@{ What = $row.What; Finding = (Get-Finding -Row $row); Fix = '' }
        }
    }
    $rows | ForEach-Object -Process {
        $state = 'ok'
        $fix = ''
        if ($_.Finding) {
            # A requirement's line has its fix behind the semicolon; a step's fix is -Apply.
            $state, $fix = $_.Finding, $_.Fix
            if (-not $fix -and $_.Finding.Contains(';')) {
                $state, $fix = $_.Finding.Split([char[]]';', 2)
            }
        }
        [pscustomobject]@{ What = $_.What; State = $state; Fix = "$fix".Trim() }
    } | Format-Table -AutoSize -Wrap | Out-Host
    return @($rows | Where-Object -FilterScript { $_.Finding }).Length
}

function Assert-Elevated {
    if (-not ([Security.Principal.WindowsPrincipal]$User).IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'this changes the machine; start PowerShell with "Run as administrator", as the user whose WSL it is'
    }
}

function Open-WayToChrome {
    try {
        Set-AdapterAddress
        Set-FirewallRule
        Set-PortProxy
        Write-BootLog -Message "${Address}:$DebugPort leads to Chrome"
    } catch {
        Write-BootLog -Message $_.Exception.Message
    }
}

function Invoke-Boot {
    # Task Scheduler does not restart a task that ends with an error, so the loop is here.
    while ($true) {
        try {
            $name = (Get-ChosenDistribution).Name
            # A process of Windows inside the distribution: WSL stops neither as long as it lives.
            $words = @('-d', $name, '--exec', 'sleep', 'infinity')
            $keeper = Start-Process -FilePath 'wsl.exe' -ArgumentList $words -WindowStyle Hidden -PassThru
            Write-BootLog -Message "starting $name"
            if (-not $NoChrome) {
                Open-WayToChrome
            }
            $keeper.WaitForExit()
            Write-BootLog -Message "$name has stopped"
        } catch {
            Write-BootLog -Message $_.Exception.Message
        }
        Start-Sleep -Seconds 30
    }
}

function Write-BootLog {
    param([string]$Message)
    $lines = @()
    if (Test-Path -LiteralPath $BootLog) {
        $lines = @(Get-Content -LiteralPath $BootLog -Tail 200)
    }
    Set-Content -LiteralPath $BootLog -Encoding UTF8 -Value ($lines + "$(Get-Date -Format s) $Message")
}

$exitCode = 0
try {
    if ($Apply -or $Undo) {
        Assert-Elevated
    }
    if ($Boot) {
        Invoke-Boot
    } elseif ($Apply) {
        foreach ($row in @(Select-Relevant -Table $Requirements)) {
            $finding = & $row.Check
            if ($finding) {
                throw $finding
            }
        }
        $state = Read-State
        foreach ($step in @(Select-Relevant -Table $Steps)) {
            $finding = Get-Finding -Row $step
            if (-not $finding) {
                Write-Output "ok       $($step.What)"
            } elseif ($PSCmdlet.ShouldProcess($step.What, "apply ($finding)")) {
                Write-Output "changing $($step.What): $finding"
                $before = & $step.Before
                if ($state.ContainsKey($step.Name) -and $state[$step.Name].Target -ne $before.Target) {
                    & $step.Undo $state[$step.Name]
                    $state.Remove($step.Name)
                }
                if (-not $state.ContainsKey($step.Name)) {
                    [void](New-Item -ItemType Directory -Path $Folder -Force)
                    $state[$step.Name] = $before
                    Save-State -State $state
                }
                & $step.Apply
            }
        }
        Write-Output "What was before is in $StateFile; -Undo puts it back. Now run: -Check"
    } elseif ($Undo) {
        # Through the file: a record is the same whether this run wrote it or an earlier one.
        $state = Read-State
        if ($state.Count -eq 0) {
            Write-Output "Nothing to undo: there is no $StateFile"
        }
        for ($index = $Steps.Length - 1; $index -ge 0; $index--) {
            $step = $Steps[$index]
            if ($state.ContainsKey($step.Name) -and $PSCmdlet.ShouldProcess($step.What, 'undo')) {
                Write-Output "undoing  $($step.What)"
                & $step.Undo $state[$step.Name]
                $state.Remove($step.Name)
                Save-State -State $state
            }
        }
        if ($state.Count -eq 0 -and (Test-Path -LiteralPath $Folder)) {
            Remove-Item -LiteralPath $Folder -Recurse -Force
        }
    } elseif ((Show-Finding) -gt 0) {
        $exitCode = 1
    }
} catch {
    [Console]::Error.WriteLine("skyvern-windows.ps1: $($_.Exception.Message)")
    $exitCode = 2
}
exit $exitCode
